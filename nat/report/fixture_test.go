package report_test

import (
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
)

const (
	asked   = "tcp 192.168.26.1:40000 > 192.168.26.100:30450"
	dnatted = "tcp 192.168.26.1:40000 > 10.244.38.178:9090"
	masqued = "tcp 10.244.239.128:51234 > 10.244.38.178:9090"
	answer  = "tcp 10.244.38.178:9090 > 10.244.239.128:51234"
	unsnat  = "tcp 10.244.38.178:9090 > 192.168.26.1:40000"
	undone  = "tcp 192.168.26.100:30450 > 192.168.26.1:40000"
	there   = "ipip 192.168.26.100:0 > 192.168.26.103:0"
	back    = "ipip 192.168.26.103:0 > 192.168.26.100:0"
)

func tuple(s string) nat.Tuple {
	if s == "" {
		return nat.Tuple{}
	}
	t, err := nat.ParseTuple(s)
	if err != nil {
		panic(err)
	}
	return t
}

func hop(dir nat.Direction, node string, tap nat.Tap, dev, t string, mark uint32, outer string) proof.Hop {
	return proof.Hop{Direction: dir, Hop: nat.Hop{Node: node, Tap: tap, Dev: dev, Tuple: tuple(t), Mark: mark, Outer: tuple(outer)}}
}

func step(hook nat.Hook, table, chain string, rule int, v nat.Verdict, mark uint32, text string) proof.Step {
	return proof.Step{Step: nat.Step{Node: "vms100", Hook: hook, Table: table, Chain: chain, Rule: rule, Verdict: v, Mark: mark, Met: met(text)}}
}

// inside is a step of another node, met by the packet that came out of the tunnel.
func inside(node string, s proof.Step) proof.Step {
	s.Node, s.Before = node, tuple(masqued)
	return s
}

// nodePort is the reference cluster's first path: from outside by the node port of vms100 to the pod on vms103.
func nodePort() proof.Certificate {
	return proof.Certificate{
		Flow: proof.Flow{
			Name: "outside -> NodePort vms100:30450 tcp velero/minio:console", Service: "velero/minio:console", Type: proof.ByNodePort,
			Client: "outside", From: "outside", Vantage: proof.FromOutside, Source: netip.MustParseAddr("192.168.26.1"),
			Target: netip.MustParseAddrPort("192.168.26.100:30450"), Protocol: nat.TCP,
		},
		Expect: nat.EndAnswered, End: nat.EndAnswered, Endpoint: netip.MustParseAddrPort("10.244.38.178:9090"),
		Server: "velero/minio-b6d98746c-lxt2c", Masqueraded: true, Verdict: proof.Proved, Node: "vms100", Tries: 1,
		Request: []string{"PREROUTING", "KUBE-SERVICES", "KUBE-NODEPORTS", "DNAT", "POSTROUTING", "KUBE-POSTROUTING", "MASQUERADE"},
		Hops: []proof.Hop{
			hop(nat.Original, "outside", nat.TapOutRaw, "eth0", asked, 0, ""),
			hop(nat.Original, "outside", nat.TapOutNAT, "eth0", asked, 0, ""),
			hop(nat.Original, "outside", nat.TapPost, "eth0", asked, 0, ""),
			hop(nat.Original, "vms100", nat.TapPreRaw, "ens32", asked, 0, ""),
			hop(nat.Original, "vms100", nat.TapPreNAT, "ens32", dnatted, 0x4000, ""),
			hop(nat.Original, "vms100", nat.TapPost, "tunl0", masqued, 0, ""),
			hop(nat.Original, "vms100", nat.TapOutRaw, "ens32", masqued, 0, there),
			hop(nat.Original, "vms100", nat.TapPost, "ens32", masqued, 0, there),
			hop(nat.Original, "vms103", nat.TapPreRaw, "ens32", masqued, 0, there),
			hop(nat.Original, "vms103", nat.TapPreRaw, "tunl0", masqued, 0, ""),
			hop(nat.Original, "vms103", nat.TapPost, "cali0123456789a", masqued, 0, ""),
			hop(nat.Original, "velero/minio-b6d98746c-lxt2c", nat.TapPreRaw, "eth0", masqued, 0, ""),
			hop(nat.Reply, "velero/minio-b6d98746c-lxt2c", nat.TapOutRaw, "eth0", answer, 0, ""),
			hop(nat.Reply, "velero/minio-b6d98746c-lxt2c", nat.TapPost, "eth0", answer, 0, ""),
			hop(nat.Reply, "vms103", nat.TapPreRaw, "cali0123456789a", answer, 0, ""),
			hop(nat.Reply, "vms103", nat.TapPost, "tunl0", answer, 0, ""),
			hop(nat.Reply, "vms103", nat.TapPost, "ens32", answer, 0, back),
			hop(nat.Reply, "vms100", nat.TapPreRaw, "ens32", answer, 0, back),
			hop(nat.Reply, "vms100", nat.TapPreRaw, "tunl0", answer, 0, ""),
			hop(nat.Reply, "vms100", nat.TapPreNAT, "tunl0", unsnat, 0, ""),
			hop(nat.Reply, "vms100", nat.TapPost, "ens32", undone, 0, ""),
			hop(nat.Reply, "outside", nat.TapPreRaw, "eth0", undone, 0, ""),
		},
		Met: []proof.Step{
			step(nat.PreRouting, "nat", "PREROUTING", 1, nat.Jump, 0, `-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`),
			step(nat.PreRouting, "nat", "KUBE-SERVICES", 5, nat.Jump, 0, `-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`),
			step(nat.PreRouting, "nat", "KUBE-NODEPORTS", 2, nat.Jump, 0, `-A KUBE-NODEPORTS -p tcp -m comment --comment "velero/minio:console" -m tcp --dport 30450 -j KUBE-EXT-K6NOPV6C6M2DHO7B`),
			step(nat.PreRouting, "nat", "KUBE-EXT-K6NOPV6C6M2DHO7B", 1, nat.Jump, 0, `-A KUBE-EXT-K6NOPV6C6M2DHO7B -m comment --comment "masquerade traffic for velero/minio:console external destinations" -j KUBE-MARK-MASQ`),
			step(nat.PreRouting, "nat", "KUBE-MARK-MASQ", 1, nat.Continue, 0x4000, `-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000`),
			step(nat.PreRouting, "nat", "KUBE-EXT-K6NOPV6C6M2DHO7B", 2, nat.Jump, 0x4000, `-A KUBE-EXT-K6NOPV6C6M2DHO7B -j KUBE-SVC-K6NOPV6C6M2DHO7B`),
			step(nat.PreRouting, "nat", "KUBE-SVC-K6NOPV6C6M2DHO7B", 2, nat.Jump, 0x4000, `-A KUBE-SVC-K6NOPV6C6M2DHO7B -m comment --comment "velero/minio:console -> 10.244.38.178:9090" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-DB3JUIMGX6LERFY3`),
			step(nat.PreRouting, "nat", "KUBE-SEP-DB3JUIMGX6LERFY3", 2, nat.Accept, 0x4000, `-A KUBE-SEP-DB3JUIMGX6LERFY3 -p tcp -m comment --comment "velero/minio:console" -m tcp -j DNAT --to-destination 10.244.38.178:9090`),
			step(nat.Forward, "filter", "FORWARD", 1, nat.Jump, 0x4000, `-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD`),
			step(nat.Forward, "filter", "KUBE-FORWARD", 2, nat.Accept, 0x4000, `-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT`),
			step(nat.PostRouting, "nat", "POSTROUTING", 1, nat.Jump, 0x4000, `-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING`),
			step(nat.PostRouting, "nat", "KUBE-POSTROUTING", 2, nat.Continue, 0, `-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0`),
			step(nat.PostRouting, "nat", "KUBE-POSTROUTING", 3, nat.Accept, 0, `-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`),
			step(nat.PostRouting, "mangle", "POSTROUTING", 0, nat.Accept, 0, ""),
			inside("vms103", step(nat.PreRouting, "nat", "PREROUTING", 1, nat.Jump, 0, `-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)),
			inside("vms103", step(nat.Forward, "filter", "FORWARD", 1, nat.Jump, 0, `-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD`)),
		},
		Routes: []proof.Route{
			{Node: "vms100", Dev: "tunl0", Dst: netip.MustParseAddr("10.244.38.178"), Route: "10.244.38.128/26 via 192.168.26.103 dev tunl0 proto bird onlink", NextHop: netip.MustParseAddr("192.168.26.103")},
			{Node: "vms100", Dev: "ens32", Dst: netip.MustParseAddr("192.168.26.103"), Route: "192.168.26.0/24 dev ens32 proto kernel scope link src 192.168.26.100"},
			{Direction: nat.Reply, Node: "vms100", Dev: "ens32", Dst: netip.MustParseAddr("192.168.26.1"), Route: "192.168.26.0/24 dev ens32 proto kernel scope link src 192.168.26.100"},
		},
		Conntrack: []nat.Conn{
			{
				Node: "vms100", Original: tuple(asked), Reply: tuple(answer),
				Status: nat.SeenReply | nat.Assured | nat.Confirmed | nat.SrcNAT | nat.DstNAT | nat.SrcNATDone | nat.DstNATDone,
			},
			{Node: "vms103", Original: tuple(masqued), Reply: tuple(answer), Status: nat.SeenReply | nat.Confirmed, Mark: 0x20},
		},
		Checks: []proof.Finding{
			{Name: "dnat", OK: true, Detail: "192.168.26.100:30450 became 10.244.38.178:9090 on the wire, in the rules and in conntrack"},
			{Name: "masquerade", OK: true, Detail: "the source became 10.244.239.128, the address of tunl0"},
			{Name: "reply", OK: true, Detail: "came back through vms100"},
		},
	}
}

// unmasked is the same flow on a node whose KUBE-MARK-MASQ was flushed: the request reaches the pod with the client's
// own address.
func unmasked() proof.Certificate {
	c := nodePort()
	c.Endpoint, c.Server = netip.MustParseAddrPort("10.244.38.178:9090"), "velero/minio-b6d98746c-lxt2c"
	c.Verdict, c.Masqueraded, c.End = proof.Disproved, false, nat.EndLost
	c.Hops = c.Hops[:5]
	c.Hops[4].Mark = 0
	c.Met = c.Met[:4]
	c.Conntrack = nil
	c.Checks = []proof.Finding{
		{Name: "dnat", OK: true, Detail: "192.168.26.100:30450 became 10.244.38.178:9090"},
		{Name: "masquerade", Detail: "predicted 10.244.239.128, saw 192.168.26.1"},
		{Name: "reply", Missing: true, Detail: "no answer was seen"},
	}
	want, got := c.Met[3].Step, c.Met[2].Step
	c.Wrong = &proof.Wrong{
		Check: "masquerade", Node: "vms100", Want: "the mark 0x4000", Got: "no mark", WantStep: &want, GotStep: &got,
		WantRule: "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", Packet: dnatted + " mark 0x0",
		Why: "the chain KUBE-MARK-MASQ has no rules", Fault: proof.FaultRules,
	}
	return c
}

// rejected is a flow that has to fail: the Service has no endpoints.
func rejected() proof.Certificate {
	const icmp = "icmp 192.168.26.100:0 > 192.168.26.1:0"
	c := nodePort()
	c.Name, c.Service = "outside -> NodePort vms100:30999 tcp default/empty", "default/empty"
	c.Target = netip.MustParseAddrPort("192.168.26.100:30999")
	c.Expect, c.End, c.Endpoint, c.Server, c.Masqueraded = nat.EndRejected, nat.EndRejected, netip.AddrPort{}, "", false
	const request = "tcp 192.168.26.1:40001 > 192.168.26.100:30999"
	c.Hops = []proof.Hop{
		hop(nat.Original, "outside", nat.TapPost, "eth0", request, 0, ""),
		hop(nat.Original, "vms100", nat.TapPreRaw, "ens32", request, 0, ""),
		hop(nat.Original, "vms100", nat.TapPreNAT, "ens32", request, 0, ""),
		hop(nat.Reply, "vms100", nat.TapOutRaw, "ens32", icmp, 0, ""),
		hop(nat.Reply, "vms100", nat.TapPost, "ens32", icmp, 0, ""),
		hop(nat.Reply, "outside", nat.TapPreRaw, "eth0", icmp, 0, ""),
	}
	c.Met = []proof.Step{
		step(nat.Input, "filter", "INPUT", 1, nat.Jump, 0, `-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES`),
		step(nat.Input, "filter", "KUBE-EXTERNAL-SERVICES", 1, nat.Reject, 0, `-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/empty has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30999 -j REJECT --reject-with icmp-port-unreachable`),
	}
	c.Conntrack, c.Checks = nil, nil
	return c
}

// unseen is a flow of which too little was seen.
func unseen() proof.Certificate {
	c := rejected()
	c.Name, c.Verdict, c.End, c.Node = "outside -> NodePort vms101:30999 tcp default/empty", proof.Inconclusive, nat.EndUnknown, ""
	c.Target = netip.MustParseAddrPort("192.168.26.101:30999")
	c.Hops, c.Met = nil, nil
	c.Wrong = &proof.Wrong{Check: "path", Want: "a REJECT in vms101", Got: "nothing was seen", Fault: proof.FaultModel, Unmodeled: []string{"-A INPUT -m u32 --u32 0x0"}}
	return c
}

func whole() proof.Report {
	const unmet = `-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP`
	return proof.Report{
		Lab: "reference", Backend: "iptables-legacy", Overlay: "ipip",
		Flows: []proof.Certificate{nodePort(), unmasked(), rejected(), unseen()},
		Coverage: proof.Coverage{Rules: 20, Met: 17, Unmet: []proof.RuleRef{
			{Node: "vms100", Table: "filter", Chain: "KUBE-FORWARD", Rule: 1, Text: unmet},
			{Node: "vms100", Table: "nat", Chain: "KUBE-MARK-DROP", Rule: 1, Text: "-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000"},
			{Node: "vms101", Table: "filter", Chain: "KUBE-FORWARD", Rule: 1, Text: unmet},
		}},
		Lost:  3,
		Notes: []string{"tunl0 is a TUN device here"},
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
