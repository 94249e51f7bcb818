package xt_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// datagram is a UDP packet with so many bytes of payload.
func datagram(from, to string, payload int) *rules.Packet {
	t := nat.TupleOf(nat.UDP, netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))
	wire := packet.Build(t, packet.Fields{Payload: make([]byte, payload)})
	return &rules.Packet{Tuple: t, Wire: wire, State: rules.New}
}

// A quota of 300 bytes: what does not fit in any more uses up the rest.
func TestQuota(t *testing.T) {
	t.Parallel()
	for _, not := range []bool{false, true} {
		var w world
		rule := map[bool]string{false: "-m quota --quota 300", true: "-m quota ! --quota 300"}[not]
		for _, step := range []struct {
			payload int
			fits    bool
		}{{72, true}, {172, true}, {0, false}, {0, false}} { // of 100, 200, 28 and 28 bytes
			answer, _ := answers(t, rule, datagram("10.0.0.1:1", "10.0.0.2:2", step.payload), &w)
			require.Equal(t, rules.Is(step.fits, not), answer, rule)
		}
	}
	answer, _ := answers(t, "-m quota --quota 100", datagram("10.0.0.1:1", "10.0.0.2:2", 73), &world{})
	require.Equal(t, rules.No, answer)
	var w world
	r := "-m quota --quota 100"
	answer, _ = answers(t, r, datagram("10.0.0.1:1", "10.0.0.2:2", 73), &w)
	require.Equal(t, rules.No, answer, "too long")
	answer, _ = answers(t, r, datagram("10.0.0.1:1", "10.0.0.2:2", 0), &w)
	require.Equal(t, rules.No, answer, "nothing is left")
}

// timed is a node with a clock.
type timed struct {
	world
	now time.Time
}

func (w *timed) Clock() (time.Time, bool) { return w.now, !w.now.IsZero() }

// What -m time answers on a Wednesday, the last of September.
func TestTime(t *testing.T) {
	t.Parallel()
	w := &timed{now: time.Date(2026, 9, 30, 0, 30, 0, 0, time.UTC)}
	for _, row := range []struct {
		rule string
		want rules.Answer
	}{
		{"", rules.Yes},
		{"--weekdays Wed", rules.Yes},
		{"--weekdays Tue,Thu", rules.No},
		{"! --weekdays 3", rules.No},
		{"--monthdays 30", rules.Yes},
		{"--monthdays 1,31", rules.No},
		{"--timestart 00:30 --timestop 00:30:00", rules.Yes},
		{"--timestart 00:30:01", rules.No},
		{"--timestop 00:29:59", rules.No},
		{"--timestart 23:00 --timestop 01:00", rules.Yes},
		{"--timestart 23:00 --timestop 01:00 --weekdays Tue", rules.No},
		{"--timestart 23:00 --timestop 01:00 --weekdays Tue --contiguous", rules.Yes},
		{"--timestart 23:00 --timestop 01:00 --monthdays 29 --contiguous", rules.Yes},
		{"--timestart 23:00 --timestop 00:29", rules.No},
		{"--datestart 2026-09-30", rules.Yes},
		{"--datestart 2026-09-30T00:30:01", rules.No},
		{"--datestop 2026-09-30T00:30", rules.Yes},
		{"--datestop 2026-09-30", rules.No},
		{"--datestop 2026-09-01 --kerneltz", rules.No},
		{"--datestart 2026-09-01 --kerneltz", rules.Yes},
		{"--weekdays Wed --kerneltz", rules.Unknown}, // it is Tuesday to the west
	} {
		answer, _ := answers(t, "-m time "+row.rule, &rules.Packet{}, w)
		require.Equal(t, row.want, answer, row.rule)
		answer, _ = answers(t, "-m time "+row.rule, &rules.Packet{}, &timed{})
		require.Equal(t, rules.Unknown, answer, "no clock")
	}
	_, actual := answers(t, "-m time --weekdays Sun", &rules.Packet{}, w)
	require.Equal(t, "it is Wed 2026-09-30 00:30:00 UTC", actual)
}

// An estimator that has seen nothing measures nothing; what one that has seen a packet measures is not known.
func TestRateEst(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rule string
		want rules.Answer
	}{
		{"--rateest R --rateest-lt --rateest-bps 8bit", rules.Yes},
		{"--rateest R --rateest-gt --rateest-bps 8bit", rules.No},
		{"--rateest R --rateest-eq --rateest-pps 0", rules.Yes},
		{"--rateest R ! --rateest-eq --rateest-pps 0", rules.No},
		{"--rateest R --rateest-lt --rateest-bps 8bit --rateest-pps 0", rules.No},
		{"--rateest R --rateest2 S --rateest-eq --rateest-bps --rateest-pps", rules.Yes},
		{"--rateest-delta --rateest R --rateest-bps1 16bit --rateest-gt --rateest-bps2 8bit", rules.Yes},
		{"--rateest-delta --rateest R --rateest2 S --rateest-pps1 2 --rateest-lt --rateest-pps2 2", rules.No},
	} {
		var w world
		answer, _ := answers(t, "-m rateest "+row.rule, &rules.Packet{}, &w)
		require.Equal(t, row.want, answer, row.rule)
		act(t, "-j RATEEST --rateest-name R --rateest-interval 1s --rateest-ewmalog 2s", &rules.Packet{}, &w)
		answer, _ = answers(t, "-m rateest "+row.rule, &rules.Packet{}, &w)
		require.Equal(t, rules.Unknown, answer, row.rule)
	}
}

// The marks that Linux 6.18 gave these datagrams.
func TestHashMark(t *testing.T) {
	t.Parallel()
	const (
		all     = "--hmark-tuple src,dst,sport,dport,proto --hmark-mod 32 --hmark-rnd 0xfeedcafe --hmark-offset 100"
		parts   = "--hmark-src-prefix 8 --hmark-dst-prefix 16 --hmark-sport-mask 0x0ff0 --hmark-dport 0x8001 --hmark-mod 32 --hmark-rnd 1 --hmark-offset 100"
		address = "--hmark-src-prefix 8 --hmark-dst-prefix 128 --hmark-mod 32 --hmark-rnd 0xfeedcafe --hmark-offset 100"
		conn    = "--hmark-tuple ct,src,dst,sport,dport --hmark-mod 32 --hmark-rnd 7 --hmark-offset 100"
	)
	for _, row := range []struct {
		from, to, options string
		want              uint32
	}{
		{"127.0.0.5:1111", "127.0.0.1:2222", all, 111},
		{"127.0.0.1:2222", "127.0.0.5:1111", all, 111},
		{"127.1.2.3:65535", "127.9.9.9:1", all, 127},
		{"127.0.0.5:1111", "127.0.0.1:2222", parts, 106},
		{"127.0.0.1:2222", "127.0.0.5:1111", parts, 121},
		{"127.1.2.3:65535", "127.9.9.9:1", parts, 122},
		{"[::1]:1111", "[fd00::5]:2222", all, 108},
		{"[fd00::5]:2222", "[::1]:1111", all, 108},
		{"[::1]:1111", "[fd00::5]:2222", address, 115},
		{"[fd00::5]:2222", "[::1]:1111", address, 103},
		{"127.0.0.5:1111", "127.0.0.1:2222", conn, 124},
		{"127.1.2.3:65535", "127.9.9.9:1", conn, 114},
	} {
		p := datagram(row.from, row.to, 1)
		r, err := iptables.ParseRule("-j HMARK "+row.options, nat.FamilyOf(p.Tuple.Src().Addr()))
		require.NoError(t, err)
		w := &world{conn: rules.Conn{Original: p.Tuple, Reply: p.Tuple.Reply()}}
		require.Equal(t, rules.Continue(), r.Target.Act(&rules.Visit{Packet: p, World: w}))
		require.Equal(t, row.want, p.Mark, "%s > %s %s", row.from, row.to, row.options)
	}
}
