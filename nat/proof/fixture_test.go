package proof

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
)

// The fixture is one flow of the reference cluster: outside 192.168.26.1 asks vms100:30450 and vms100 sends it,
// masqueraded as its tunnel address, to the pod on vms105. There are two endpoints, of which this is one.
const (
	asks   = "tcp 192.168.26.1:40000 > 192.168.26.100:30450"
	dnated = "tcp 192.168.26.1:40000 > 10.244.169.89:9090"
	snated = "tcp 10.244.239.128:0 > 10.244.169.89:9090" // 0: chance decides the port
	outer  = "ipip 192.168.26.100:0 > 192.168.26.105:0"
	pod    = "velero/minio-b6d98746c-m7rzc"
	other  = "10.244.38.178:9090"

	seenPort = 51234 // what chance decided
)

func tuple(s string) nat.Tuple {
	t, err := nat.ParseTuple(s)
	if err != nil {
		panic(err)
	}
	return t
}

func hop(node string, tap nat.Tap, dev, packet string, mark uint32, around ...string) nat.Hop {
	h := nat.Hop{Node: node, Tap: tap, Dev: dev, Tuple: tuple(packet), Mark: mark}
	if len(around) > 0 {
		h.Outer = tuple(around[0])
	}
	return h
}

func back(s string) string { return tuple(s).Reply().String() }

func step(node string, hook nat.Hook, table, chain string, rule int, verdict nat.Verdict, packet, text string) nat.Step {
	return nat.Step{Node: node, Hook: hook, Table: table, Chain: chain, Rule: rule, Verdict: verdict, Before: tuple(packet), Met: met(text), Why: "fixture"}
}

var fixtureFlow = Flow{
	Name: "outside -> NodePort vms100:30450 tcp velero/minio:console", Service: "velero/minio:console", Type: ByNodePort,
	Client: "outside", From: "outside", Source: netip.MustParseAddr("192.168.26.1"),
	Target: netip.MustParseAddrPort("192.168.26.100:30450"), Protocol: nat.TCP,
}

func requestHops() []nat.Hop {
	return []nat.Hop{
		hop("outside", nat.TapOutRaw, "eth0", asks, 0),
		hop("outside", nat.TapPost, "eth0", asks, 0),
		hop("vms100", nat.TapPreRaw, "ens32", asks, 0),
		hop("vms100", nat.TapPreNAT, "ens32", dnated, 0x4000),
		hop("vms100", nat.TapPost, "tunl0", snated, 0),
		hop("vms100", nat.TapOutRaw, "ens32", snated, 0, outer),
		hop("vms105", nat.TapPreRaw, "ens32", snated, 0, outer),
		hop("vms105", nat.TapPreRaw, "tunl0", snated, 0),
		hop("vms105", nat.TapPost, "calia011d753862", snated, 0),
		hop(pod, nat.TapPreRaw, "eth0", snated, 0),
	}
}

func replyHops() []nat.Hop {
	return []nat.Hop{
		hop(pod, nat.TapOutRaw, "eth0", back(snated), 0),
		hop("vms105", nat.TapPreRaw, "calia011d753862", back(snated), 0),
		hop("vms105", nat.TapPost, "tunl0", back(snated), 0),
		hop("vms100", nat.TapPreRaw, "tunl0", back(snated), 0),
		hop("vms100", nat.TapPreNAT, "tunl0", back(dnated), 0),
		hop("vms100", nat.TapPost, "ens32", back(asks), 0),
		hop("outside", nat.TapPreRaw, "eth0", back(asks), 0),
		hop("outside", nat.TapPreNAT, "eth0", back(asks), 0),
	}
}

const dnatText = "-A KUBE-SEP-OLNIRCQFCXAN5USW -p tcp -j DNAT --to-destination 10.244.169.89:9090"

func requestSteps() nat.Trace {
	pre := func(chain string, rule int, v nat.Verdict, text string) nat.Step {
		return step("vms100", nat.PreRouting, "nat", chain, rule, v, asks, text)
	}
	return nat.Trace{
		pre("PREROUTING", 1, nat.Jump, "-A PREROUTING -j KUBE-SERVICES"),
		pre("KUBE-SERVICES", 9, nat.Jump, "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"),
		pre("KUBE-NODEPORTS", 2, nat.Jump, "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30450 -j KUBE-EXT-K6NOPV6C6M2DHO7B"),
		pre("KUBE-EXT-K6NOPV6C6M2DHO7B", 1, nat.Jump, "-A KUBE-EXT-K6NOPV6C6M2DHO7B -j KUBE-MARK-MASQ"),
		pre("KUBE-MARK-MASQ", 1, nat.Continue, "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"),
		pre("KUBE-EXT-K6NOPV6C6M2DHO7B", 2, nat.Jump, "-A KUBE-EXT-K6NOPV6C6M2DHO7B -j KUBE-SVC-K6NOPV6C6M2DHO7B"),
		pre("KUBE-SVC-K6NOPV6C6M2DHO7B", 2, nat.Jump, "-A KUBE-SVC-K6NOPV6C6M2DHO7B -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-OLNIRCQFCXAN5USW"),
		pre("KUBE-SEP-OLNIRCQFCXAN5USW", 2, nat.Accept, dnatText),
		step("vms100", nat.Forward, "filter", "FORWARD", 1, nat.Jump, dnated, "-A FORWARD -j KUBE-FORWARD"),
		step("vms100", nat.Forward, "filter", "KUBE-FORWARD", 2, nat.Accept, dnated, "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT"),
		step("vms100", nat.PostRouting, "nat", "POSTROUTING", 1, nat.Jump, dnated, "-A POSTROUTING -j KUBE-POSTROUTING"),
		step("vms100", nat.PostRouting, "nat", "KUBE-POSTROUTING", 2, nat.Continue, dnated, "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0"),
		step("vms100", nat.PostRouting, "nat", "KUBE-POSTROUTING", 3, nat.Accept, dnated, "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"),
		step("vms105", nat.Forward, "filter", "FORWARD", 0, nat.Accept, snated, ""),
	}
}

func replySteps() nat.Trace {
	return nat.Trace{
		step("vms105", nat.Forward, "filter", "FORWARD", 0, nat.Accept, back(snated), ""),
		step("vms100", nat.Forward, "filter", "FORWARD", 1, nat.Jump, back(dnated), "-A FORWARD -j KUBE-FORWARD"),
		step("vms100", nat.Forward, "filter", "KUBE-FORWARD", 3, nat.Accept, back(dnated), "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
	}
}

func fixtureConns() []nat.Conn {
	const done = nat.SeenReply | nat.Confirmed | nat.SrcNATDone | nat.DstNATDone
	return []nat.Conn{
		{Node: "vms100", Original: tuple(asks), Reply: tuple(back(snated)), Status: done | nat.SrcNAT | nat.DstNAT},
		{Node: "vms105", Original: tuple(snated), Reply: tuple(back(snated)), Status: done},
	}
}

// answered is the outcome that the fixture's flow has to have, by the endpoint on vms105.
func answered() nat.Outcome {
	return nat.Outcome{
		Probability: 0.5, End: nat.EndAnswered, Server: pod, Endpoint: netip.MustParseAddrPort("10.244.169.89:9090"),
		ServerPeer: netip.MustParseAddrPort("10.244.239.128:0"), ClientPeer: netip.MustParseAddrPort("192.168.26.100:30450"),
		Request: nat.Journey{Hops: requestHops(), Steps: requestSteps()},
		Reply:   nat.Journey{Hops: replyHops(), Steps: replySteps()},
		Conns:   fixtureConns(),
	}
}

// byOther is the other way it may go, only as far as the choice between the two needs it.
func byOther() nat.Outcome {
	o := answered()
	o.Endpoint, o.Server = netip.MustParseAddrPort(other), "velero/minio-b6d98746c-lxt2c"
	o.Request.Steps = slices.Clone(o.Request.Steps)
	o.Request.Steps[6].Met = met("-A KUBE-SVC-K6NOPV6C6M2DHO7B -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-DB3JUIMGX6LERFY3")
	return o
}

// bind gives chance's port a value.
func bind(t nat.Tuple) nat.Tuple {
	if t.Src().Port() == nat.AnyPort && t.Proto() == nat.TCP {
		t = t.WithSrc(netip.AddrPortFrom(t.Src().Addr(), seenPort))
	}
	if t.Dst().Port() == nat.AnyPort && t.Proto() == nat.TCP {
		t = t.WithDst(netip.AddrPortFrom(t.Dst().Addr(), seenPort))
	}
	return t
}

// observe is what the witnesses report where things go as an outcome has it, the conntrack events last.
func observe(o nat.Outcome) []Observation {
	var out []Observation
	for dir, way := range []nat.Journey{o.Request, o.Reply} {
		flags := []uint8{tcpSYN, tcpSYN | tcpACK}[dir]
		for _, h := range way.Hops {
			h.Tuple = bind(h.Tuple)
			out = append(out, Observation{Kind: PacketSeen, Node: h.Node, Hop: h, TCPFlags: flags})
		}
		for _, s := range way.Steps {
			s.Before = bind(s.Before)
			s.Why = ""
			out = append(out, Observation{Kind: RuleHit, Node: s.Node, Step: s})
		}
	}
	for _, c := range slices.Backward(o.Conns) {
		c.Original, c.Reply = bind(c.Original), bind(c.Reply)
		out = append(out, Observation{Kind: ConnSeen, Node: c.Node, Conn: c})
	}
	for i := range out {
		out[i].Seq = uint64(i)
	}
	return out
}

// asPredicted is a case in which all is as it has to be.
func asPredicted() Case {
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	conns := fixtureConns()
	conns[0].Original = tuple("tcp 192.168.26.1:41111 > 192.168.26.100:30450")
	conns[0].Reply = tuple("tcp 10.244.169.89:9090 > 10.244.239.128:33333")
	conns[1].Original, conns[1].Reply = conns[0].Reply.Reply(), conns[0].Reply
	ends := Ends{
		End: nat.EndAnswered, Server: pod, ServerAddr: netip.MustParseAddrPort("10.244.169.89:9090"),
		ServerPeer: netip.AddrPortFrom(netip.MustParseAddr("10.244.239.128"), seenPort), ClientPeer: fixtureFlow.Target,
	}
	return Case{
		Flow: fixtureFlow, Probe: probe, Strict: true,
		Intent: nat.Prediction{byOther(), answered()}, Live: nat.Prediction{byOther(), answered()},
		Seen:     Join([]nat.Probe{probe}, observe(answered()))[0],
		Ends:     ends,
		Controls: []Control{{Tuple: conns[0].Original, Ends: ends, Conns: conns}},
		Chains:   Chains{Intent: chainsOf(fixtureChains()), Live: chainsOf(fixtureChains())},
	}
}

// fixtureChains are the chains that the fixture's flow meets.
func fixtureChains() map[ChainRef][]nat.Met {
	m := map[ChainRef][]nat.Met{}
	for _, s := range slices.Concat(requestSteps(), replySteps()) {
		if s.Rule != 0 && !slices.Contains(m[chainOf(s)], s.Met) {
			m[chainOf(s)] = append(m[chainOf(s)], s.Met)
		}
	}
	return m
}

// chainsOf gives chains out of a map.
func chainsOf(m map[ChainRef][]nat.Met) func(ChainRef) ([]nat.Met, bool) {
	return func(c ChainRef) ([]nat.Met, bool) {
		rules, has := m[c]
		return rules, has
	}
}

// met is a rule, from the text that iptables-save prints of it.
func met(text string) nat.Met {
	f := strings.SplitN(text, " ", 3)
	if len(f) < 2 {
		return nat.Met{}
	}
	rule, err := iptables.ParseRule(strings.Join(f[2:], ""), nat.IPv4)
	if err != nil {
		panic(err)
	}
	return rule.Met(f[1])
}
