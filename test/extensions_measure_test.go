package test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
	"natlab/topology"
)

// parsed reads one rule's line in a table that has its chain.
func (l extensionLine) parsed(family nat.Family, line string) (iptables.Table, error) {
	rs, err := iptables.ParseString(fmt.Sprintf("*%s\n:%s ACCEPT [0:0]\n%s\nCOMMIT\n", l.table, l.chain, line), family)
	if err != nil {
		return iptables.Table{}, err
	}
	return rs.Tables[0], nil
}

// printed is what natlab prints of a rule that it reads, or why it does not read it.
func (l loadedLine) printed(line string) string {
	table, err := l.parsed(l.family, line)
	if err != nil {
		return err.Error()
	}
	var rules []string
	for _, r := range table.Chains[0].Rules {
		rules = append(rules, r.Text(l.chain))
	}
	return strings.Join(rules, "\n")
}

func (l loadedLine) asWritten() string  { return l.printed(l.String()) }
func (l loadedLine) parsedBack() string { return l.printed(l.saved) }

var rawBytes = regexp.MustCompile(` --raw \d+:[0-9a-f]*`)

// keptAsBytes reports whether the view is the saved line but for extensions that it shows as bytes.
func (l loadedLine) keptAsBytes() bool {
	parts := rawBytes.Split(l.view, -1)
	return len(parts) > 1 && strings.HasPrefix(l.saved, parts[0]) && strings.HasSuffix(l.saved, parts[len(parts)-1])
}

// undecided names the parts of the rule that the emulator cannot decide for some packet, "" for none. Each match and the
// target are tried by themselves, so that none hides behind another that does not hold.
func (l loadedLine) undecided(t *testing.T) string {
	t.Helper()
	table, err := l.parsed(l.family, l.saved)
	if err != nil {
		return err.Error()
	}
	asked := map[string]bool{}
	var order []string
	node, err := gateway.NewGateway(extensionNode(), nil, gateway.NodeOptions{
		Family: l.family, Facts: gateway.Facts{Queues: rules.No, IPsec: rules.No},
		Unknown: func(rule string) bool {
			if !asked[rule] {
				order = append(order, rule)
			}
			asked[rule] = true
			return false
		},
	})
	require.NoError(t, err)
	hook, err := nat.ParseHook(l.chain)
	require.NoError(t, err)
	for _, r := range table.Chains[0].Rules {
		parts := []iptables.Rule{{Target: r.Target}}
		for _, m := range r.Matches {
			parts = append(parts, iptables.Rule{Matches: []xt.Match{m}, Target: xt.Accept{}})
		}
		for _, part := range parts {
			chain := iptables.Chain{Name: l.chain, Policy: "ACCEPT", Rules: []iptables.Rule{part}}
			compiled := iptables.Compile(iptables.Table{Name: l.table, Chains: []iptables.Chain{chain}})
			for _, p := range extensionPackets(l.family, hook) {
				compiled.Run(hook, &p, &extensionWorld{World: node.World(), packet: &p}, nil)
			}
		}
	}
	return strings.Join(order, "; ")
}

// extensionWorld is a node where each packet that is in the state of one has a connection, which answers have been seen of, and is the first
// one that the rule sees: how many connections there are depends on the kernel where some were counted before.
type extensionWorld struct {
	gateway.World
	packet *rules.Packet
	memory rules.Memory
}

// Memory is what the rule remembers for the packet.
func (w *extensionWorld) Memory() *rules.Memory { return &w.memory }

// Conn is the packet's connection.
func (w *extensionWorld) Conn() (c rules.Conn, ok bool) {
	t := w.packet.Tuple
	return rules.Conn{Original: t, Reply: t.Reply(), Status: nat.SeenReply | nat.Confirmed, Expires: time.Minute, Counted: true}, w.packet.Tracked()
}

// Clock is a time.
func (*extensionWorld) Clock() (time.Time, bool) { return time.Unix(1_800_000_000, 0), true }

// extensionNode is where the packets come by: a node between two networks of each family.
func extensionNode() topology.Namespace {
	ns := topology.Namespace{Member: "node", Devices: []topology.Device{{Name: "eth0", Kind: topology.Veth}, {Name: "eth1", Kind: topology.Veth}}}
	for dev, prefixes := range map[string][]string{"eth0": {"192.0.2.10/24", "2001:db8::10/64"}, "eth1": {"198.51.100.10/24", "2001:db8:1::10/64"}} {
		for _, p := range prefixes {
			ns.Addresses = append(ns.Addresses, topology.Address{Device: dev, Prefix: netip.MustParsePrefix(p)})
		}
	}
	return ns
}

// extensionPackets are packets of every kind that extensions tell apart, as they are at a hook.
func extensionPackets(family nat.Family, hook nat.Hook) (packets []rules.Packet) {
	in, out := "eth0", "eth1"
	switch hook {
	case nat.PreRouting, nat.Input:
		out = ""
	case nat.Output, nat.PostRouting:
		in = ""
	case nat.Forward:
	}
	// ICMP, IGMP, TCP, UDP, DCCP, GRE, ESP, AH, ICMPv6, SCTP, mobility header, UDP-Lite
	for _, proto := range []nat.Proto{1, 2, 6, 17, 33, 47, 50, 51, 58, 132, 135, 136} {
		for _, later := range []bool{false, true} {
			wire := extensionPacket(family, proto, later)
			for _, state := range []rules.State{rules.New, rules.Established, rules.Untracked, rules.Invalid} {
				packets = append(packets, rules.Packet{
					Tuple: wire.Tuple(), TCPFlags: wire.TCPFlags(), TTL: wire.TTL(), Later: wire.Later(), In: in, Out: out, State: state, Wire: wire,
					Sender: rules.Sender{Socket: rules.ProcessSocket, UID: rules.ID{Known: true, Number: 1000}, GID: rules.ID{Known: true, Number: 100}},
				})
			}
		}
	}
	return packets
}

// extensionPacket is a packet of a protocol, whole or a later fragment.
func extensionPacket(family nat.Family, proto nat.Proto, later bool) *packet.Packet {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2")
	if family == nat.IPv6 {
		src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::2")
	}
	f := packet.Fields{TCP: packet.TCP{Flags: 0x02, Options: []byte{2, 4, 5, 180, 1, 1, 1, 0}}, Type: 8, Payload: make([]byte, 24)}
	f.Payload[0], f.Payload[1] = 59, 4 // an authentication header, with nothing behind it
	switch {
	case later && family == nat.IPv4:
		f.Part = 185
	case later:
		f.Headers = []packet.Header{{Type: 44, Bytes: []byte{0, 0, 5, 200, 0, 0, 0, 1}}}
	}
	return packet.Build(nat.TupleOf(proto, netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(dst, 80)), f)
}

// refusals counts the lines that iptables' tests have as mistakes, and those of them that natlab's parser refuses too.
func (s *extensionScore) refusals(t *testing.T, lines []extensionLine) {
	t.Helper()
	for _, l := range lines {
		for _, family := range l.families {
			if !l.mistake {
				continue
			}
			row := s.row(l.extension)
			row.mistakes++
			if _, err := l.parsed(family, l.String()); err != nil {
				row.refused++
			} else if s.show {
				t.Logf("%s, %s\n    %-11s %s", l.place, family, "not refused", l)
			}
		}
	}
}
