package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// ported is a world with a bridge's ports, and with or without programs on queues.
type ported struct {
	world
	ports  rules.BridgePorts
	known  bool
	listen rules.Answer
}

func (w *ported) BridgePorts(*rules.Packet) (rules.BridgePorts, bool) { return w.ports, w.known }
func (w *ported) QueueListens(uint16, uint16) rules.Answer            { return w.listen }

// The ports of a bridge (physdev_mt): without a bridge what is inverted holds.
func TestPhysDevAsksForPorts(t *testing.T) {
	t.Parallel()
	none, in, through := rules.BridgePorts{}, rules.BridgePorts{In: "veth1"}, rules.BridgePorts{In: "veth1", Out: "veth2"}
	for _, row := range []struct {
		options string
		ports   rules.BridgePorts
		want    rules.Answer
	}{
		{"--physdev-is-bridged", none, rules.No},
		{"! --physdev-is-bridged", none, rules.Yes},
		{"! --physdev-in veth1 ! --physdev-out veth1", none, rules.Yes},
		{"! --physdev-in veth1 --physdev-out veth1", none, rules.No},
		{"--physdev-is-in", in, rules.Yes},
		{"--physdev-is-bridged", in, rules.No},
		{"! --physdev-is-out --physdev-in veth+", in, rules.Yes},
		{"! --physdev-in veth1", in, rules.No},
		{"--physdev-in veth", in, rules.No},
		{"! --physdev-out veth2", in, rules.No},
		{"--physdev-is-bridged --physdev-out veth2", through, rules.Yes},
		{"! --physdev-is-bridged", through, rules.No},
		{"! --physdev-out veth1", through, rules.Yes},
		{"--physdev-in veth2", rules.BridgePorts{Out: "veth2"}, rules.Yes},
	} {
		t.Run(row.options, func(t *testing.T) {
			t.Parallel()
			w := &ported{ports: row.ports, known: true}
			answer, actual := answers(t, "-m physdev "+row.options, &rules.Packet{}, w)
			require.Equal(t, row.want, answer, "%s for %v", row.options, row.ports)
			require.True(t, row.want == rules.Yes || actual != "", row.options)
		})
	}
	answer, actual := answers(t, "-m physdev --physdev-is-in", &rules.Packet{}, &ported{})
	require.Equal(t, rules.Unknown, answer)
	require.Equal(t, "it is not known whether a bridge hands the packet to these tables", actual)
}

// What a program on a queue, and a transparent socket, leave open (nf_queue, tproxy_tg).
func TestTargetsThatOthersDecide(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		target string
		listen rules.Answer
		want   rules.Action
	}{
		{"NFQUEUE", rules.No, rules.Action{Verdict: nat.Queue}},
		{"NFQUEUE --queue-bypass", rules.No, rules.Action{Verdict: nat.Accept, Effect: &rules.Queued{}}},
		{"NFQUEUE --queue-num 3 --queue-bypass", rules.Unknown, rules.Action{
			Verdict: nat.Accept, Effect: &rules.Queued{}, Else: nat.Queue, Open: "-j NFQUEUE --queue-num 3 --queue-bypass: no program listens, or it accepts the packet",
		}},
		{"NFQUEUE --queue-balance 0:3", rules.Yes, rules.Action{
			Verdict: nat.Accept, Effect: &rules.Queued{}, Else: nat.Queue, Open: "-j NFQUEUE --queue-balance 0:3: a program listens and accepts the packet",
		}},
		{"QUEUE", rules.No, rules.Action{Verdict: nat.Queue}},
		{"TPROXY --on-port 1 --tproxy-mark 0x1/0x3", rules.No, rules.Action{
			Verdict: nat.Accept, Else: nat.Drop, Open: "-j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x3: a transparent socket takes the packet",
		}},
		{"LOG", rules.No, rules.Continue()},
		{"TEE --gateway 10.0.0.1", rules.No, rules.Continue()},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule("-p tcp -j "+row.target, nat.IPv4)
			require.NoError(t, err, row.target)
			p := &rules.Packet{Mark: 0x12}
			require.Equal(t, row.want, r.Target.Act(&rules.Visit{Packet: p, World: &ported{listen: row.listen}}), row.target)
			if r.Target.Name() == "TPROXY" {
				require.EqualValues(t, 0x11, p.Mark)
			}
		})
	}
}

// A socket is looked up for TCP, UDP and errors about them only.
func TestSocketIsAskedForWhatHasOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		tuple string
		kind  uint8
		want  rules.Answer
	}{
		{"tcp 10.0.0.1:1 > 10.0.0.2:2", 0, rules.Unknown},
		{"udp [2001:db8::1]:1 > [2001:db8::2]:2", 0, rules.Unknown},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1", 8, rules.No},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1", 3, rules.Unknown},
		{"sctp 10.0.0.1:1 > 10.0.0.2:2", 0, rules.No},
	} {
		t.Run(row.tuple, func(t *testing.T) {
			t.Parallel()
			tuple, err := nat.ParseTuple(row.tuple)
			require.NoError(t, err)
			answer, actual := answers(t, "-m socket", &rules.Packet{Tuple: tuple, ICMPType: row.kind}, &world{})
			require.Equal(t, row.want, answer, row.tuple)
			require.NotEmpty(t, actual)
		})
	}
}

// What iptables or the kernel refuses of these extensions, and what iptables makes of it.
func TestLocalExtensionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ rule, want string }{
		{"-m addrtype --src-type l,UNI", "-m addrtype --src-type UNICAST,LOCAL"},
		{"-m addrtype --src-type LOCAL --src-type LOCAL", "error: --src-type: given twice"},
		{"-m addrtype --limit-iface-in", "error: needs --src-type or --dst-type"},
		{"-m addrtype --src-type LOCAL --limit-iface-in --limit-iface-out", "error: --limit-iface-out: does not go with --limit-iface-in"},
		{"-m physdev", "error: needs --physdev-in or"},
		{"-m physdev --physdev-in abcdefghijklmnop", "error: at most 15 bytes"},
		{"-j LOG --log-level panic", "-j LOG --log-level 0"},
		{"-j LOG --log-level warning", "-j LOG"},
		{"-j LOG --log-level warn", "error: want a number from 0 to 7"},
		{"-j LOG --log-prefix 123456789012345678901234567890", "-j LOG --log-prefix 12345678901234567890123456789"},
		{`-j LOG --log-prefix ""`, "error: at least one character"},
		{"-j NFLOG --nflog-size 1 --nflog-range 1", "error: does not go with"},
		{"-j NFQUEUE", "-j NFQUEUE --queue-num 0"},
		{"-j NFQUEUE --queue-balance 3", "error: FIRST:LAST"},
		{"-j NFQUEUE --queue-balance 3:3", "error: FIRST:LAST"},
		{"-j NFQUEUE --queue-balance 0:65535", "error: FIRST:LAST"},
		{"-j NFQUEUE --queue-cpu-fanout", "error: needs --queue-balance"},
		{"-j NFQUEUE --queue-num 1 --queue-balance 1:2", "error: does not go with"},
		{"-p tcp -j TPROXY --on-port 0x10", "-p tcp -j TPROXY --on-port 16 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0"},
		{"-j TPROXY --on-port 1", "error: needs -p tcp or -p udp"},
		{"-p udp -j TPROXY", "error: needs --on-port"},
		{"-j AUDIT --type DROP", "-j AUDIT --type drop"},
		{"-j CLASSIFY --set-class 1:FFFFF", "-j CLASSIFY --set-class 0001:ffff"},
		{"-j CLASSIFY --set-class 1", "error: want MAJOR:MINOR"},
		{"-j TEE --gateway 0.0.0.0", "error: the kernel refuses this one"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule(row.rule, nat.IPv4)
			if len(row.want) > 7 && row.want[:7] == "error: " {
				require.ErrorContains(t, err, row.want[7:], row.rule)
				return
			}
			require.NoError(t, err, row.rule)
			require.Equal(t, row.want, r.Spec())
		})
	}
	_, err := iptables.ParseRule("-m addrtype --dst-type BROADCAST", nat.IPv6)
	require.ErrorContains(t, err, "does not ask for it in IPv6")
}
