package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/rules"
)

// secured is a world that knows so much of the node's IPsec.
type secured struct {
	world
	ipsec rules.Answer
}

func (w *secured) IPsec(*rules.Packet, bool) rules.Answer { return w.ipsec }

// What a packet without IPsec, one with some, and one of which that is not known is for -m policy. The kind of IPsec is not known.
func TestPolicyAsksForIPsec(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		options string
		ipsec   rules.Answer
		want    rules.Answer
	}{
		{"--dir in --pol none", rules.No, yes},
		{"--dir in --pol none", rules.Yes, no},
		{"--dir out --pol none", rules.Unknown, rules.Unknown},
		{"--dir in --pol ipsec", rules.No, no},
		{"--dir in --pol ipsec", rules.Yes, yes},
		{"--dir in --pol ipsec", rules.Unknown, rules.Unknown},
		{"--dir in --pol ipsec --proto esp", rules.No, no},
		{"--dir in --pol ipsec --proto esp", rules.Yes, rules.Unknown},
		{"--dir in --pol ipsec ! --proto esp", rules.No, no},
		{"--dir in --pol ipsec --proto esp", rules.Unknown, rules.Unknown},
		{"--dir out --pol ipsec --strict --reqid 1", rules.Yes, rules.Unknown},
	} {
		t.Run(row.options, func(t *testing.T) {
			t.Parallel()
			answer, actual := answers(t, "-m policy "+row.options, &rules.Packet{}, &secured{ipsec: row.ipsec})
			require.Equal(t, row.want, answer, "%s where IPsec is %s", row.options, row.ipsec)
			require.True(t, row.want == yes || actual != "", row.options)
		})
	}
}

// What is not known of IPsec is asked once for all rules in one direction, whether they want none, any or some kind of it.
func TestPolicyAsksOnce(t *testing.T) {
	t.Parallel()
	const in, out = "-m policy --dir in --pol ipsec", "-m policy --dir out --pol ipsec"
	const esp, spi = in + " --proto esp", out + " --strict ! --spi 0x1"
	for _, row := range []struct {
		match  string
		before []nat.Assumption
		yes    bool
		asks   []string
		want   rules.Answer
	}{
		{in, nil, true, []string{in}, yes},
		{in, nil, false, []string{in}, no},
		{"-m policy --dir in --pol none", nil, true, []string{in}, no},
		{"-m policy --dir in --pol none", nil, false, []string{in}, yes},
		{"-m policy --dir out --pol none", nil, true, []string{out}, no},
		{"-m policy --dir in --pol none", holding(esp, true), true, nil, no},
		{"-m policy --dir in --pol none", holding(esp, false), true, []string{in}, no},
		{"-m policy --dir in --pol none", holding(spi, true), false, []string{in}, yes},
		{in, holding(esp, true), false, nil, yes},
		{esp, nil, true, nil, rules.Unknown}, // is asked for as it stands there
		{esp, holding(in, true), true, nil, rules.Unknown},
		{esp, holding(in, false), true, nil, no},
		{esp, holding(out, false), true, nil, rules.Unknown},
		{spi, holding(out, false), true, nil, no},
	} {
		t.Run(row.match, func(t *testing.T) {
			t.Parallel()
			d := &asked{yes: row.yes, assumed: row.before}
			v := rules.Visit{Packet: &rules.Packet{}, World: &secured{}, Decider: d, Hook: nat.Forward}
			require.Equal(t, row.want, ruleOf(t, row.match, &v).Matches[0].Holds(&v), "%s after %v, and the answer is %t", row.match, row.before, row.yes)
			var asks []string
			for _, a := range d.assumed[len(row.before):] {
				asks = append(asks, a.What)
			}
			require.Equal(t, row.asks, asks, "%s after %v", row.match, row.before)
		})
	}
}

func holding(what string, holds bool) []nat.Assumption {
	return []nat.Assumption{{What: what, Holds: holds}}
}
