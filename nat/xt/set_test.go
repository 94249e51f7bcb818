package xt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// As iptables 1.8.9 answered each of them.
func TestSetSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m set --set one src", "-m set --match-set one src"},
		{"-m set --match-set one srcfoo,dstx", "-m set --match-set one src,dst"},
		{"-m set --match-set one source", ""},
		{"-m set --match-set one src,", ""},
		{"-m set --match-set one src,,dst", ""},
		{"-m set --match-set one src,dst,src,dst,src,dst,src", ""},
		{"-m set --match-set one", ""},
		{"-m set --match-set one src --match-set one dst", ""},
		{"-m set --match-set 12345678901234567890123456789012 src", ""},
		{"-m set --return-nomatch", ""},
		{"-m set --match-set one src --return-nomatch --return-nomatch", "-m set --match-set one src --return-nomatch"},
		{"-m set --match-set one src ! --return-nomatch", ""},
		{"-m set --match-set one src --update-counters", "-m set --match-set one src"},
		{"-m set --match-set one src ! --update-counters --update-counters", "-m set --match-set one src ! --update-counters"},
		{"-m set --match-set one src --packets-eq 5 --packets-lt 7", ""},
		{"-m set --match-set one src --packets-eq 5 --packets-eq 5", ""},
		{"-m set --match-set one src ! --packets-lt 7", ""},
		{"-m set --match-set one src --packets-eq 0x10 --bytes-gt 010", "-m set --match-set one src --packets-eq 16 --bytes-gt 8"},
		{"-m set --match-set one src --packets-eq 18446744073709551616", ""},
		{"-m set --match-set one src --packets-eq -1", ""},
		{"-j SET --add-set one src --exist --exist", "-j SET --add-set one src --exist"},
		{"-j SET --add-set one src --timeout 5 --timeout 6", "-j SET --add-set one src --timeout 6"},
		{"-j SET --add-set one src --timeout 4294967295", ""},
		{"-j SET --add-set one src --add-set one dst", ""},
		{"-j SET --del-set one src --exist", ""},
		{"-j SET --del-set one src --timeout 3", ""},
		{"-j SET --exist", ""},
		{"-j SET --map-set one src", ""},
		{"-j SET --del-set one src --map-mark", ""},
		{"-j SET --del-set one src --add-set one dst --timeout 0x10", "-j SET --add-set one dst --timeout 16 --del-set one src"},
		{"-j SET ! --add-set one src", "-j SET --add-set one src"},
		{"-j SET --add-set one src --map-set one src,dst --map-mark --exist", "-j SET --add-set one src --exist --map-set one src,dst --map-mark"},
		{"-j SET --map-set one src --map-prio --map-queue", "-j SET --map-set one src --map-prio --map-queue"},
	})
}

// Every revision of the structs holds what it has room for, and refuses the rest.
func TestSetRevisions(t *testing.T) {
	t.Parallel()
	env := &xt.Env{SetNames: map[uint16]string{7: "one", 8: "two"}, SetIndex: map[string]uint16{"one": 7, "two": 8}}
	for _, row := range []struct {
		rule string
		from uint8 // the revision
	}{
		{"-m set ! --match-set one src,dst", 1},
		{"-m set --match-set one dst,src --return-nomatch", 2},
		{"-m set --match-set one dst ! --update-counters ! --packets-eq 7 --bytes-gt 9", 3},
		{"-j SET --add-set one src --del-set two dst,src", 1},
		{"-j SET --add-set one src --exist --timeout 0", 2},
		{"-j SET --del-set two src --map-set one dst --map-prio --map-queue", 3},
	} {
		r, err := iptables.ParseRule(row.rule, nat.IPv4)
		require.NoError(t, err)
		name, kind, value := "set", xt.MatchKind, xt.Value(r.Target)
		if r.Target == nil {
			value = r.Matches[0]
		} else {
			name, kind = "SET", xt.TargetKind
		}
		x, ok := xt.Find(name, kind, nat.IPv4)
		require.True(t, ok)
		for _, l := range x.Layouts {
			d := make([]byte, xt.Padded(l.Size))
			err := l.Encode(value, d, env)
			if l.Revision < row.from {
				require.Error(t, err, "%s in revision %d", row.rule, l.Revision)
				continue
			}
			require.NoError(t, err)
			back, ok := l.Decode(d[:l.Size], env)
			require.True(t, ok, "%s in revision %d", row.rule, l.Revision)
			require.Equal(t, value, back)
			_, ok = l.Decode(d[:l.Size], &xt.Env{})
			require.False(t, ok, "a set that nobody can name")
			require.Error(t, l.Encode(value, d, &xt.Env{}))
		}
	}
}

// withSets is a node with sets.
type withSets struct {
	world
	state *ipset.State
}

func (w *withSets) AskSet(p *rules.Packet, q rules.SetQuery) rules.SetAnswer {
	return w.state.Ask(p, nil, q, time.Time{})
}

func (w *withSets) ChangeSet(p *rules.Packet, c rules.SetChange) {
	w.state = w.state.Change(p, nil, c, time.Time{})
}

// decider answers what is not known, and notes what it was asked.
type decider struct {
	yes   bool
	asked []string
}

func (*decider) Take(float64) bool { return true }
func (a *decider) Unknown(what string) bool {
	a.asked = append(a.asked, what)
	return a.yes
}

// What a set has is asked for, and what nobody knows is asked the same way inverted or not, and anew after a change.
func TestSetHolds(t *testing.T) {
	t.Parallel()
	sets, err := ipset.Parse("create one hash:ip\nadd one 10.0.0.1\n")
	require.NoError(t, err)
	w := &withSets{state: ipset.NewState(sets, time.Time{})}
	p := datagram("10.0.0.1:1", "10.0.0.2:2", 0)
	holds := func(rule string, d rules.Decider) rules.Answer {
		r, err := iptables.ParseRule(rule, nat.IPv4)
		require.NoError(t, err)
		return r.Matches[0].Holds(&rules.Visit{Packet: p, World: w, Decider: d})
	}
	for rule, want := range map[string]rules.Answer{
		"-m set --match-set one src": rules.Yes, "-m set ! --match-set one src": rules.No, "-m set --match-set one dst": rules.No,
		"-m set ! --match-set one dst": rules.Yes, "-m set --match-set two src": rules.Unknown, "-m set ! --match-set two src": rules.Unknown,
	} {
		require.Equal(t, want, holds(rule, nil), rule)
	}
	d := &decider{}
	require.Equal(t, rules.No, holds("-m set --match-set two src", d))
	require.Equal(t, rules.Yes, holds("-m set ! --match-set two src", d))
	act := func(rule string) rules.Action {
		r, err := iptables.ParseRule(rule, nat.IPv4)
		require.NoError(t, err)
		return r.Target.Act(&rules.Visit{Packet: p, World: w, Decider: d})
	}
	require.Equal(t, rules.Continue(), act("-j SET --add-set two src"))
	holds("-m set --match-set two src", d)
	const question = "-m set --match-set two src"
	require.Equal(t, []string{question, question, question + ", after change 1 on the packet's way"}, d.asked)
	require.Equal(t, rules.Continue(), act("-j SET --add-set one dst --timeout 4294967294 --del-set one src"))
	require.Equal(t, rules.No, holds("-m set --match-set one src", nil))
	require.Equal(t, rules.Yes, holds("-m set --match-set one dst", nil))
}

// SET gives a packet the mark that a member has for it. Which mark it is where nothing is known of the set, nobody knows.
func TestSetMaps(t *testing.T) {
	t.Parallel()
	sets, err := ipset.Parse("create one hash:ip skbinfo\nadd one 10.0.0.1 skbmark 0x1f/0xff\n")
	require.NoError(t, err)
	for _, row := range []struct {
		rule string
		yes  bool
		mark uint32
		open string
	}{
		{"-j SET --map-set one src --map-mark", false, 0xff1f, ""},
		{"-j SET --map-set one src --map-prio", false, 0xffff, ""},
		{"-j SET --map-set one dst --map-mark", false, 0xffff, ""},
		{"-j SET --map-set two src --map-mark", false, 0xffff, ""},
		{"-j SET --map-set two src --map-mark", true, 0xffff, "-j SET --map-set two src --map-mark: which mark it sets is not known"},
	} {
		r, err := iptables.ParseRule(row.rule, nat.IPv4)
		require.NoError(t, err)
		p := datagram("10.0.0.1:1", "10.0.0.2:2", 0)
		p.Mark = 0xffff
		d := &decider{yes: row.yes}
		a := r.Target.Act(&rules.Visit{Packet: p, World: &withSets{state: ipset.NewState(sets, time.Time{})}, Decider: d})
		require.Equal(t, row.mark, p.Mark, row.rule)
		require.Equal(t, strings.Contains(row.rule, "two"), len(d.asked) == 1, row.rule)
		if row.open == "" {
			require.Equal(t, rules.Continue(), a, row.rule)
		} else {
			require.Equal(t, &rules.Open{Why: row.open}, a.Effect)
		}
	}
}
