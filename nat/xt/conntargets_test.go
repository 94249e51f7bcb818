package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// act lets the target of a rule of IPv4 work on a packet.
func act(t *testing.T, rule string, p *rules.Packet, w rules.World) rules.Action {
	t.Helper()
	r, err := iptables.ParseRule(rule, nat.IPv4)
	require.NoError(t, err, rule)
	return r.Target.Act(&rules.Visit{Packet: p, World: w, Hook: nat.PreRouting, At: rules.Place{Table: "mangle", Chain: "X", Rule: 1}})
}

// What CONNMARK makes of a packet's mark 0x1234 and its connection's 0xabcd; nothing where there is no connection.
func TestSetConnMark(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		options  string
		mark, ct uint32
	}{
		{"--set-mark 0x5", 0x1234, 0x5},
		{"--set-xmark 0x0f/0xff", 0x1234, 0xab0f},
		{"--xor-mark 0xffff", 0x1234, 0x5432},
		{"--set-xmark 0x0/0xff --right-shift-mark 8", 0x1234, 0xab},
		{"--save-mark", 0x1234, 0x1234},
		{"--save-mark --nfmask 0xf0 --ctmask 0xff", 0x1234, 0xab30},
		{"--save-mark --nfmask 0xff --ctmask 0xffff --left-shift-mark 8", 0x1234, 0x3400},
		{"--restore-mark", 0xabcd, 0xabcd},
		{"--restore-mark --nfmask 0xff --ctmask 0xff00 --right-shift-mark 8", 0x12ab, 0xabcd},
		{"--restore-mark --left-shift-mark 32", 0xabcd, 0xabcd},
	} {
		t.Run(row.options, func(t *testing.T) {
			t.Parallel()
			p := rules.Packet{State: rules.Established, Mark: 0x1234, ConnMark: 0xabcd}
			require.Equal(t, rules.Continue(), act(t, "-j CONNMARK "+row.options, &p, nil))
			require.Equal(t, [2]uint32{row.mark, row.ct}, [2]uint32{p.Mark, p.ConnMark}, row.options)
			none := rules.Packet{State: rules.Invalid, Mark: 1, ConnMark: 2}
			act(t, "-j CONNMARK "+row.options, &none, nil)
			require.Equal(t, rules.Packet{State: rules.Invalid, Mark: 1, ConnMark: 2}, none, row.options)
		})
	}
}

// What CT asks of conntrack, unless the packet has a connection or was dealt with before.
func TestCT(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rule   string
		state  rules.State
		want   rules.Template
		now    rules.State
		tracks bool
	}{
		{"CT --notrack", rules.Invalid, rules.Template{}, rules.Untracked, false},
		{"NOTRACK", rules.Established, rules.Template{}, rules.Established, false},
		{"CT --zone 7", rules.Invalid, rules.Template{Zone: nat.Zone{ID: 7}}, rules.New, true},
		{"CT --zone-orig mark", rules.Invalid, rules.Template{Zone: nat.Zone{ID: 0x2345, NotReply: true}}, rules.New, true},
		{"CT --zone-reply 9", rules.Invalid, rules.Template{Zone: nat.Zone{ID: 9, NotOriginal: true}}, rules.New, true},
		{"CT --zone 7", rules.Untracked, rules.Template{}, rules.Untracked, true},
		{"CT --zone 7", rules.New, rules.Template{}, rules.New, true},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			p := rules.Packet{State: row.state, Mark: 0x12345}
			require.Equal(t, rules.Continue(), act(t, "-j "+row.rule, &p, nil))
			require.Equal(t, rules.Packet{State: row.now, Mark: 0x12345, Template: row.want}, p, row.rule)
			r, err := iptables.ParseRule("-j "+row.rule, nat.IPv4)
			require.NoError(t, err)
			require.Equal(t, row.tracks, xt.Tracks(r.Target, nat.IPv4), row.rule)
		})
	}
}
