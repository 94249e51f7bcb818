package test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
)

// drawnHost is a node that chance made, with the world behind its three uplinks and its pods, each in a namespace of its own:
//
//	world 10.1i.0.2, 203.0.113.1i, 198.51.100.1-4 --- uplink i: a link, a VLAN or a bridge's port
//	                 10.20.0.11, 10.20.0.12       --- cni0, a bridge, whose ports are in hairpin mode or not
//	                 10.21.0.13                   --- c3, a link of its own
//	                 10.10.0.14                   --- a macvlan or an ipvlan on top of uplink 0
//
// What comes to the world on a new connection is answered by the link that it came by.
type drawnHost struct {
	*rand.Rand

	name    string
	uplinks [3]string         // the devices that have the addresses
	entries map[string]string // the device of the node by which packets of an address may come in
	node    []string          // what is run in the node, in order
	kinds   []string          // of devices that the kernel makes on top of others
}

func newDrawnHost(name string, seed uint64, kinds []string) *drawnHost {
	return &drawnHost{Rand: rand.New(rand.NewPCG(seed, 16)), name: name, entries: map[string]string{}, kinds: kinds} //nolint:gosec // no secret
}

// one of several.
func (d *drawnHost) one(of ...string) string { return of[d.IntN(len(of))] }

// some of several, each with the same chance, in their order.
func (d *drawnHost) some(of ...string) (out []string) {
	for _, o := range of {
		if d.IntN(3) == 0 {
			out = append(out, o)
		}
	}
	return out
}

func (d *drawnHost) runs(lines ...string) { d.node = append(d.node, lines...) }

// script makes the namespaces' links, addresses and rules. What hosts of one link know of each other's hardware addresses is told them, so that no packet
// waits for ARP, which asks the routes as well.
func (d *drawnHost) script() string {
	world := func(line string) string { return "ip netns exec " + d.name + "w " + line }
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, of := range drawnMembers {
		say("ip -n %s%s link set lo up", d.name, of)
	}
	out = append(out, world("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.icmp_ratelimit=0"))
	for i := range d.uplinks {
		say("ip -n %[1]sn link add eth%[2]d address %[3]s type veth peer name w%[2]d address %[4]s netns %[1]sw", d.name, i, mac(1, i), mac(2, i))
		dev, far := fmt.Sprintf("eth%d", i), fmt.Sprintf("w%d", i)
		switch kind := d.one("link", "vlan", "bridge"); {
		case kind == "vlan" && slices.Contains(d.kinds, "vlan"):
			d.runs(fmt.Sprintf("ip link add link %s name %s.1%d type vlan id 1%d", dev, dev, i, i), "ip link set "+dev+" up")
			out = append(out, world(fmt.Sprintf("ip link add link %[1]s name %[1]s.1 type vlan id 1%[2]d", far, i)), world("ip link set "+far+" up"))
			dev, far = fmt.Sprintf("%s.1%d", dev, i), far+".1"
		case kind == "bridge":
			d.runs(fmt.Sprintf("ip link add br%d address %s type bridge forward_delay 0", i, mac(1, i)), fmt.Sprintf("ip link set %s master br%d", dev, i), "ip link set "+dev+" up")
			dev = fmt.Sprintf("br%d", i)
		}
		d.uplinks[i] = dev
		d.runs("ip link set "+dev+" up", fmt.Sprintf("ip addr add 10.1%d.0.1/24 dev %s", i, dev), fmt.Sprintf("ip neigh replace 10.1%d.0.2 lladdr %s dev %s", i, mac(2, i), dev))
		for _, line := range []string{
			"ip link set " + far + " up", fmt.Sprintf("ip addr add 10.1%d.0.2/24 dev %s", i, far), fmt.Sprintf("ip addr add 203.0.113.1%d/32 dev lo", i),
			fmt.Sprintf("ip neigh replace 10.1%d.0.1 lladdr %s dev %s", i, mac(1, i), far), fmt.Sprintf("ip route add default via 10.1%[1]d.0.1 dev %[2]s table 10%[1]d", i, far),
			fmt.Sprintf("ip rule add pref 1%[1]d fwmark %[2]d lookup 10%[1]d", i, i+1), fmt.Sprintf("ip rule add pref 2%[1]d from 10.1%[1]d.0.2 lookup 10%[1]d", i),
			fmt.Sprintf("ip rule add pref 3%[1]d from 203.0.113.1%[1]d lookup 10%[1]d", i),
			fmt.Sprintf("iptables-legacy -t mangle -A PREROUTING -i %s -m conntrack --ctstate NEW -j CONNMARK --set-mark %d", far, i+1),
		} {
			out = append(out, world(line))
		}
		d.entries[fmt.Sprintf("10.1%d.0.2", i)], d.entries[fmt.Sprintf("203.0.113.1%d", i)] = dev, dev
	}
	for i := 1; i <= 4; i++ {
		out = append(out, world(fmt.Sprintf("ip addr add 198.51.100.%d/32 dev lo", i)))
	}
	out = append(out, world("iptables-legacy -t mangle -A OUTPUT -j CONNMARK --restore-mark"), world("ip route add default via 10.10.0.1"))
	return strings.Join(append(out, d.pods()...), "\n")
}

func mac(of, i int) string { return fmt.Sprintf("02:00:00:00:%02d:%02d", of, i) }

// drawnMembers are what the names of a host's namespaces end with: the node's, the world's and the pods'.
var drawnMembers = []string{"n", "w", "a", "b", "c", "d"}

// pods draws how they are behind the node.
func (d *drawnHost) pods() (out []string) {
	d.runs("ip link add cni0 address 02:00:00:00:20:01 type bridge forward_delay 0", "ip addr add 10.20.0.1/24 dev cni0", "ip link set cni0 up")
	for i, of := range []string{"a", "b"} {
		pod := mac(20, 11+i)
		out = append(out, fmt.Sprintf("ip -n %[1]sn link add v%[2]s type veth peer name eth0 address %[3]s netns %[1]s%[2]s", d.name, of, pod),
			fmt.Sprintf("ip -n %s%s addr add 10.20.0.%d/24 dev eth0", d.name, of, 11+i), fmt.Sprintf("ip -n %s%s link set eth0 up", d.name, of),
			fmt.Sprintf("ip -n %s%s route add default via 10.20.0.1", d.name, of), fmt.Sprintf("ip -n %s%s neigh add 10.20.0.1 lladdr 02:00:00:00:20:01 dev eth0", d.name, of),
			fmt.Sprintf("ip -n %s%s neigh add 10.20.0.%d lladdr %s dev eth0", d.name, of, 12-i, mac(20, 12-i)))
		d.runs("ip link set v"+of+" master cni0", "ip link set v"+of+" type bridge_slave hairpin "+d.one("on", "off"), "ip link set v"+of+" up",
			fmt.Sprintf("bridge fdb replace %s dev v%s master static", pod, of), fmt.Sprintf("ip neigh replace 10.20.0.%d lladdr %s dev cni0", 11+i, pod))
		d.entries[fmt.Sprintf("10.20.0.%d", 11+i)] = "cni0"
	}
	out = append(out, fmt.Sprintf("ip -n %[1]sn link add c3 address 02:00:00:00:21:01 type veth peer name eth0 address 02:00:00:00:21:13 netns %[1]sc", d.name),
		"ip -n "+d.name+"c link set eth0 up", "ip -n "+d.name+"c addr add 10.21.0.13/32 dev eth0", "ip -n "+d.name+"c route add 169.254.1.1 dev eth0",
		"ip -n "+d.name+"c route add default via 169.254.1.1", "ip -n "+d.name+"c neigh add 169.254.1.1 lladdr 02:00:00:00:21:01 dev eth0")
	d.runs("ip link set c3 up", "ip route add 10.21.0.13 dev c3", "ip neigh replace 10.21.0.13 lladdr 02:00:00:00:21:13 dev c3",
		"ip link add link "+d.uplinks[0]+" name top0 type "+d.onTop(),
		"ip link set top0 netns "+d.name+"d")
	d.entries["10.21.0.13"] = "c3"
	return append(out, d.inNode()...)
}

// onTop is a kind of device of a pod on top of an uplink.
func (d *drawnHost) onTop() string {
	if kind := d.one("macvlan mode bridge", "macvlan mode private", "ipvlan mode l2"); slices.Contains(d.kinds, strings.Fields(kind)[0]) {
		return kind
	}
	return "macvlan mode vepa"
}

// inNode are the commands of the node itself, behind all that it needs, and of the pod on top of an uplink.
func (d *drawnHost) inNode() (out []string) {
	d.runs("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.icmp_ratelimit=0 net.bridge.bridge-nf-call-iptables="+d.one("0", "1"),
		"sysctl -qw net.ipv4.conf.all.rp_filter="+d.one("0", "0", "1", "2"), "sysctl -qw net.ipv4.conf.all.src_valid_mark="+d.one("0", "1"))
	for _, dev := range append(d.uplinks[:], "cni0", "c3") {
		d.runs("for s in send_redirects=0 rp_filter=" + d.one("0", "0", "1", "2") + "; do echo ${s#*=} > /proc/sys/net/ipv4/conf/" + dev + "/${s%=*}; done")
	}
	d.routes()
	d.runs(d.one("iptables-legacy", "iptables-nft")+"-restore <<'END'", d.rules()+"END")
	return []string{
		"ip netns exec " + d.name + "n sh -e <<'NODE'\n" + strings.Join(d.node, "\n") + "\nNODE",
		"ip -n " + d.name + "d link set top0 up", "ip -n " + d.name + "d addr add 10.10.0.14/24 dev top0", "ip -n " + d.name + "d route add default via 10.10.0.1",
	}
}

// routes draws tables, rules of routing and routes with several next hops.
func (d *drawnHost) routes() {
	hop := func() string { i := d.IntN(3); return fmt.Sprintf("via 10.1%d.0.2 dev %s", i, d.uplinks[i]) }
	hops := func() string {
		if d.IntN(3) > 0 {
			return hop()
		}
		i := d.IntN(3)
		j := (i + 1 + d.IntN(2)) % 3
		return fmt.Sprintf("nexthop via 10.1%d.0.2 dev %s nexthop via 10.1%d.0.2 dev %s weight 2", i, d.uplinks[i], j, d.uplinks[j])
	}
	own := "ip route add 10.20.0.0/24 dev cni0 table %s\nip route add 10.21.0.13 dev c3 table %[1]s"
	d.runs("ip route add default "+hops(), "ip route add 198.51.100.2 "+hops())
	for _, table := range []string{"101", "102", "103"} {
		d.runs("ip route add default table " + table + " " + hops())
		if d.IntN(2) == 0 {
			d.runs(fmt.Sprintf(own, table))
		}
		d.runs(d.some("ip route add throw 198.51.100.3 table "+table, "ip route add "+d.one("unreachable", "prohibit", "blackhole")+" 198.51.100.4 table "+table,
			"ip route add 198.51.100.0/30 "+hop()+" table "+table)...)
	}
	d.runs(d.some(
		"ip rule add pref 50 from all lookup main suppress_prefixlength 0", "ip rule add pref 100 from 10.20.0.0/24 lookup 101", "ip rule add pref 110 from 10.21.0.13 lookup 102",
		"ip rule add pref 120 fwmark 0x1/0xf lookup 101", "ip rule add pref 121 fwmark 0x2/0xf lookup 102", "ip rule add pref 130 iif cni0 to 198.51.100.0/24 lookup 103",
		"ip rule add pref 140 iif "+d.uplinks[1]+" lookup 102", "ip rule add pref 150 not from 10.0.0.0/8 lookup 103", "ip rule add pref 160 to 198.51.100.4 "+d.one("unreachable", "prohibit", "blackhole"),
		"ip rule add pref 170 from all ipproto udp dport 81 lookup 102", "ip rule add pref 180 from 10.11.0.1 lookup 101", "ip rule add pref 181 from 10.12.0.1 lookup 103",
	)...)
}

// rules draws what is marked, translated, masqueraded and dropped.
func (d *drawnHost) rules() string {
	var b strings.Builder
	say := func(lines ...string) { b.WriteString(strings.Join(lines, "\n")); b.WriteString("\n") }
	say("*mangle")
	say(d.some(
		"-A PREROUTING -i "+d.uplinks[1]+" -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x1/0xf", "-A PREROUTING -i cni0 -p udp -m udp --dport 81 -j MARK --set-xmark 0x2/0xf",
		"-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf", "-A OUTPUT -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf", "-A OUTPUT -p udp -m udp --dport 80 -j MARK --set-xmark 0x1/0xf",
	)...)
	say("COMMIT", "*nat", ":SVC - [0:0]", "-A PREROUTING -j SVC", "-A OUTPUT -j SVC")
	for i := 1; i <= 5; i++ {
		if d.IntN(2) == 0 {
			say(fmt.Sprintf("-A SVC -d 10.96.0.%d/32 -j MARK --set-xmark 0x4000/0x4000", i))
		}
		to := d.one("10.20.0.11:8080", "10.20.0.12:8080", "10.21.0.13:8080", "10.10.0.14:8080", "10.11.0.2:81", "198.51.100.2:81", "10.12.0.1:81")
		say(fmt.Sprintf("-A SVC -d 10.96.0.%d/32 -p udp -m udp --dport 80 -j DNAT --to-destination %s", i, to))
		if i == 5 { // a node port
			say("-A SVC -p udp -m addrtype --dst-type LOCAL -m udp --dport 82 -j DNAT --to-destination " + to)
		}
	}
	say("-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE")
	say(d.some("-A POSTROUTING -s 10.20.0.0/15 ! -d 10.0.0.0/8 -j MASQUERADE", "-A POSTROUTING -o "+d.uplinks[2]+" -j SNAT --to-source 10.12.0.1")...)
	say("COMMIT", "*filter")
	say(d.some("-A FORWARD -i cni0 -o cni0 -p udp -m udp --dport 8080 -j DROP", "-A FORWARD -o "+d.uplinks[1]+" -p udp -j REJECT", "-A FORWARD -p udp -m udp --sport 80 -j DROP")...)
	say("COMMIT")
	return b.String()
}

// drawnFlow is who asks whom.
type drawnFlow struct {
	member string
	tuple  nat.Tuple
	in     string
}

// flows draws who asks whom, no two from one port.
func (d *drawnHost) flows(n int) (out []drawnFlow) {
	members := map[string]string{"10.20.0.11": "a", "10.20.0.12": "b", "10.21.0.13": "c", "10.10.0.1": "n", "10.11.0.1": "n", "10.20.0.1": "n"}
	for a := range d.entries {
		if strings.HasPrefix(a, "10.1") || strings.HasPrefix(a, "203.") {
			members[a] = "w"
		}
	}
	clients := []string{"10.20.0.11", "10.20.0.12", "10.21.0.13", "10.10.0.1", "10.11.0.1", "10.20.0.1", "10.10.0.2", "10.11.0.2", "10.12.0.2", "203.0.113.10", "203.0.113.11", "203.0.113.12"}
	servers := []string{
		"10.96.0.1:80", "10.96.0.2:80", "10.96.0.3:80", "10.96.0.4:80", "10.96.0.5:80", "10.10.0.1:82", "10.11.0.1:82", "10.20.0.11:8080", "10.20.0.12:81", "10.21.0.13:80", "10.10.0.14:80",
		"10.11.0.1:81", "10.20.0.1:80", "10.12.0.1:8080", "10.10.0.2:80", "10.12.0.2:81", "198.51.100.1:80", "198.51.100.2:81", "198.51.100.3:80", "198.51.100.4:80", "203.0.113.11:80",
	}
	for i := range n {
		from, to := netip.MustParseAddr(d.one(clients...)), netip.MustParseAddrPort(d.one(servers...))
		member := members[from.String()]
		if from == to.Addr() {
			continue
		}
		if member == "w" && (to.Addr() == netip.MustParseAddr("10.10.0.14") || worldly(to.Addr())) { // which the node does not see
			continue
		}
		out = append(out, drawnFlow{member, nat.TupleOf(nat.UDP, netip.AddrPortFrom(from, uint16(20000+i)), to), d.entries[from.String()]}) //nolint:gosec // some hundreds
	}
	return out
}

// worldly reports whether the world has an address.
func worldly(a netip.Addr) bool {
	s := a.String()
	return strings.HasPrefix(s, "198.51.100.") || strings.HasPrefix(s, "203.0.113.") || strings.HasPrefix(s, "10.1") && strings.HasSuffix(s, ".0.2")
}

// ending is how an exchange ends, as far as its client can tell; "" for one that is not followed to its end.
func ending(o nat.Outcome) string {
	switch o.End {
	case nat.EndAnswered:
		return "answered by " + o.Endpoint.String()
	case nat.EndRefused, nat.EndRejected, nat.EndUnreachable:
		return "refused"
	case nat.EndLost:
		return "lost"
	case nat.EndUnknown:
	}
	return ""
}

// explained is what a node's bundle tells of a flow: all that may come of it, and the word.
func explained(t *testing.T, n *bundle.Node, f drawnFlow) (ends []string, a diagnosis.Answer) {
	t.Helper()
	ask := gateway.AskOf(f.tuple)
	ask.In = f.in
	c := n.Case(ask)
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, ask, nil)
	require.NoError(t, err)
	for _, o := range x.Prediction {
		if e := ending(o); !slices.Contains(ends, e) {
			ends = append(ends, e)
		}
	}
	return ends, c.Diagnose(x.Prediction)
}

// Packets through nodes that chance made, with bridges, VLANs, pods on top of an uplink, several uplinks, rules of routing by source, mark, device and
// port, tables, several next hops and rp_filter, end as an explanation of what the node's own programs print has it. NATLAB_HOSTS is how many nodes; which,
// by NATLAB_SEED.
func TestDrawnHosts(t *testing.T) { //nolint:tparallel // what its hosts found is counted behind them
	t.Parallel()
	hosts, first := 8, uint64(1)
	if s := os.Getenv("NATLAB_HOSTS"); s != "" {
		var err error
		hosts, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	if s := os.Getenv("NATLAB_SEED"); s != "" {
		var err error
		first, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	kinds := drawnKinds(t)
	words := make([]map[diagnosis.Word]int, hosts)
	t.Run("hosts", func(t *testing.T) {
		for i := range hosts {
			words[i] = map[diagnosis.Word]int{}
			seed := first + uint64(i) //nolint:gosec // a few
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				newDrawnHost(uniqueName(t)+"-", seed, kinds).agrees(t, words[i])
			})
		}
	})
	all := map[diagnosis.Word]int{}
	for _, w := range words {
		for word, n := range w {
			all[word] += n
		}
	}
	t.Log(all)
	require.Greater(t, all[diagnosis.Works], hosts*5, "%v", all)
	require.Greater(t, all[diagnosis.Broken], hosts*5, "%v", all)
	require.Greater(t, all[diagnosis.Works]+all[diagnosis.Broken], all[diagnosis.Depends]+all[diagnosis.Unknown], "%v", all)
}
