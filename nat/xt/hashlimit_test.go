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

// hashed asks a rule of -m hashlimit for packets of 1,028 bytes, one source port each.
type hashed struct {
	clocked
	t    *testing.T
	rule string
}

func (h *hashed) ask(at time.Duration, port uint16) (rules.Answer, bool) {
	h.t.Helper()
	h.now = time.Unix(1000, 0).Add(at)
	tuple := nat.TupleOf(nat.UDP, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("10.0.0.2:9"))
	wire := packet.Build(tuple, packet.Fields{Payload: make([]byte, 1000)})
	r, err := iptables.ParseRule("-m hashlimit "+h.rule, nat.IPv4)
	require.NoError(h.t, err)
	v := rules.Visit{Packet: &rules.Packet{Tuple: tuple, Wire: wire}, World: h}
	return r.Matches[0].Holds(&v), v.HotDrop
}

// How many of 40 packets at once are below each rate: as many as Linux 6.18 counted.
func TestHashLimitAtOnce(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]int{
		"--hashlimit-upto 4kb/s --hashlimit-burst 8kb --hashlimit-mode srcip --hashlimit-name a":        9,
		"--hashlimit-upto 4kb/s --hashlimit-mode srcip --hashlimit-name b":                              3,
		"--hashlimit-upto 5/s --hashlimit-burst 3 --hashlimit-name c":                                   3,
		"--hashlimit-upto 5/s --hashlimit-burst 3 --hashlimit-name d --hashlimit-rate-match":            8,
		"--hashlimit-upto 4kb/s --hashlimit-name e --hashlimit-rate-match":                              3,
		"--hashlimit-upto 4kb/s --hashlimit-burst 8kb --hashlimit-name f --hashlimit-rate-match":        7,
		"--hashlimit-above 5/s --hashlimit-burst 3 --hashlimit-name g":                                  37,
		"--hashlimit-upto 5/s --hashlimit-burst 3 --hashlimit-mode srcport --hashlimit-name h":          40,
		"--hashlimit-upto 5/s --hashlimit-burst 3 --hashlimit-mode dstip,dstport --hashlimit-name i":    3,
		"--hashlimit-upto 5/s --hashlimit-burst 3 --hashlimit-mode srcip,srcport --hashlimit-name j":    40,
		"--hashlimit-upto 5/s --hashlimit-mode srcip --hashlimit-srcmask 0 --hashlimit-name k":          5,
		"--hashlimit-upto 1000000/s --hashlimit-burst 1000000 --hashlimit-name l --hashlimit-dstmask 0": 40,
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			h := &hashed{t: t, rule: rule}
			held := 0
			for port := range uint16(40) {
				if a, _ := h.ask(0, port); a == rules.Yes {
					held++
				}
			}
			require.Equal(t, want, held, rule)
		})
	}
}

// What time gives back to a group.
func TestHashLimitInTime(t *testing.T) {
	t.Parallel()
	const yes, no = rules.Yes, rules.No
	for rule, steps := range map[string]map[int]rules.Answer{ // by milliseconds, behind three packets at 0
		"--hashlimit-upto 10/s --hashlimit-burst 3 --hashlimit-name a":                               {0: no, 99: no, 100: yes, 199: no, 200: yes, 450: yes, 451: yes, 452: no},
		"--hashlimit-upto 4kb/s --hashlimit-name b":                                                  {0: no, 11: no, 12: yes, 264: no, 265: yes},
		"--hashlimit-upto 2/s --hashlimit-burst 1 --hashlimit-name c --hashlimit-rate-match":         {0: no, 999: no, 1000: no, 2000: yes},
		"--hashlimit-above 10/s --hashlimit-burst 3 --hashlimit-name d":                              {0: yes, 99: yes, 100: no},
		"--hashlimit-upto 2/hour --hashlimit-burst 3 --hashlimit-name e --hashlimit-htable-expire 1": {0: no, 1: no, 500: rules.Unknown, 1502: yes},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			h := &hashed{t: t, rule: rule}
			for range 3 {
				h.ask(0, 1)
			}
			for ms := range 3000 {
				if want, asked := steps[ms]; asked {
					a, _ := h.ask(time.Duration(ms)*time.Millisecond, 1)
					require.Equal(t, want, a, "%s at %d ms", rule, ms)
				}
			}
		})
	}
}

// A table that is full drops what would be a group of its own.
func TestHashLimitIsFull(t *testing.T) {
	t.Parallel()
	h := &hashed{t: t, rule: "--hashlimit-upto 1/hour --hashlimit-mode srcport --hashlimit-name a --hashlimit-htable-size 2 --hashlimit-htable-max 2 --hashlimit-htable-expire 5000"}
	for port := range uint16(2) {
		a, drop := h.ask(0, port)
		require.Equal(t, rules.Yes, a)
		require.False(t, drop)
	}
	_, drop := h.ask(0, 3)
	require.True(t, drop)
	_, drop = h.ask(7*time.Second, 3)
	require.False(t, drop, "the others have expired")
}
