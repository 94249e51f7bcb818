package test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// connLimitRules count connections by their source, by its network, by their destination, and all.
var connLimitRules = []string{
	"-A FORWARD -i in0 -m connlimit --connlimit-upto 2 --connlimit-mask 32 --connlimit-saddr", "-A FORWARD -i in0 -m connlimit --connlimit-above 2 --connlimit-mask 32 --connlimit-saddr",
	"-A FORWARD -i in0 -m connlimit --connlimit-above 3 --connlimit-mask 24 --connlimit-saddr", "-A FORWARD -i in0 -m connlimit --connlimit-upto 3 --connlimit-mask 24 --connlimit-saddr",
	"-A FORWARD -i in0 -m connlimit --connlimit-above 1 --connlimit-mask 32 --connlimit-daddr", "-A FORWARD -i in0 -m connlimit ! --connlimit-above 4 --connlimit-mask 0",
	"-A FORWARD -i in0 -p tcp -m connlimit --connlimit-above 1 --connlimit-mask 0", "-A FORWARD -i in0 -m connlimit --connlimit-above 0",
}

// connLimits are these for a family.
func connLimits(family nat.Family) []string {
	if family == nat.IPv4 {
		return connLimitRules
	}
	replace := strings.NewReplacer("-mask 32", "-mask 128", "-mask 24", "-mask 120")
	var out []string
	for _, r := range connLimitRules {
		out = append(out, replace.Replace(r))
	}
	return out
}

// Connections are counted as the kernel counts them: each new one, none twice, and none that is closed. Between the packets the kernel's
// clock goes on, since within one of its ticks it does not look for those that are closed (nf_conncount's last_gc).
func TestDifferentialConnLimit(t *testing.T) {
	t.Parallel()
	const tick = 12 * time.Millisecond // at HZ=100, and some
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		rs, err := iptables.ParseString(mangleRules(connLimits(w.family)...), w.family)
		require.NoError(t, err)
		w.load(t, rs)
		for _, g := range []given{
			{tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{tuple: "udp 192.168.1.10:1001 > 10.0.0.20:80"},
			{tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{tuple: "udp 192.168.1.10:1001 > 10.0.0.21:80"},
			{tuple: "tcp 192.168.1.11:1000 > 10.0.0.20:80", flags: 2, seq: 1000},
			{dev: "out0", tuple: "tcp 10.0.0.20:80 > 192.168.1.11:1000", flags: 18, seq: 5000, ack: 1001},
			{tuple: "tcp 192.168.1.11:1001 > 10.0.0.22:80", flags: 2, seq: 1000},
			{dev: "out0", tuple: "tcp 10.0.0.22:80 > 192.168.1.11:1001", flags: 18, seq: 5000, ack: 1001},
			{tuple: "udp 203.0.113.9:1000 > 10.0.0.23:80"},
			{tuple: "tcp 192.168.1.11:1000 > 10.0.0.20:80", flags: 4, seq: 1001},
			{tuple: "tcp 192.168.1.11:1001 > 10.0.0.22:80", flags: 4, seq: 1001},
			{tuple: "tcp 192.168.1.11:1002 > 10.0.0.22:80", flags: 2, seq: 1000},
			{tuple: "udp 192.168.1.12:1000 > 10.0.0.20:80"},
		} {
			require.Empty(t, w.give(t, cmp.Or(g.dev, "in0"), g.packet(t, w.family), 0), g.tuple)
			time.Sleep(tick)
		}
	})
}
