package xt_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// asked answers what is not known with yes, or as was assumed, and remembers it.
type asked struct {
	assumed []nat.Assumption
	yes     bool
}

func (*asked) Take(float64) bool           { return true }
func (a *asked) Assumed() []nat.Assumption { return a.assumed }
func (a *asked) Unknown(what string) bool {
	i := slices.IndexFunc(a.assumed, func(b nat.Assumption) bool { return b.What == what })
	if i < 0 {
		a.assumed = append(a.assumed, nat.Assumption{What: what, Holds: a.yes})
		return a.yes
	}
	return a.assumed[i].Holds
}

func holdsFor(t *testing.T, options string, v *rules.Visit) rules.Answer {
	t.Helper()
	r, err := iptables.ParseRule("-m owner "+options, nat.IPv4)
	require.NoError(t, err, options)
	return r.Matches[0].Holds(v)
}

// Who has sent a packet: nobody, the kernel, or a process (owner_mt).
func TestOwnerOfASocket(t *testing.T) {
	t.Parallel()
	id := func(n uint32) rules.ID { return rules.ID{Known: true, Number: n} }
	root := rules.Sender{Socket: rules.ProcessSocket, UID: id(0), GID: id(5)}
	for _, row := range []struct {
		options string
		hook    nat.Hook
		sender  rules.Sender
		want    rules.Answer
	}{
		// forwarded, or made by the kernel without a socket: what is inverted holds
		{"--uid-owner 0", nat.Forward, root, rules.No},
		{"! --uid-owner 0", nat.PostRouting, rules.Sender{Socket: rules.NoSocket}, rules.Yes},
		{"! --uid-owner 0 ! --gid-owner 0 ! --socket-exists", nat.PostRouting, rules.Sender{Socket: rules.NoSocket}, rules.Yes},
		{"! --uid-owner 0 --gid-owner 0", nat.PostRouting, rules.Sender{Socket: rules.NoSocket}, rules.No},
		{"--socket-exists", nat.PostRouting, rules.Sender{Socket: rules.NoSocket}, rules.No},
		{"! --gid-owner 0 --suppl-groups", nat.PostRouting, rules.Sender{Socket: rules.NoSocket}, rules.No},
		// a socket that no process holds
		{"--socket-exists", nat.Output, rules.Sender{Socket: rules.KernelSocket}, rules.Yes},
		{"--uid-owner 0", nat.Output, rules.Sender{Socket: rules.KernelSocket}, rules.No},
		{"! --uid-owner 0", nat.Output, rules.Sender{Socket: rules.KernelSocket}, rules.Yes},
		{"! --socket-exists ! --uid-owner 0", nat.Output, rules.Sender{Socket: rules.KernelSocket}, rules.No},
		// a process's
		{"--uid-owner root", nat.Output, root, rules.Yes},
		{"! --uid-owner 0", nat.Output, root, rules.No},
		{"--uid-owner 1-9 --gid-owner 5", nat.Output, root, rules.No},
		{"! --uid-owner 1-9 --gid-owner 4-5", nat.Output, root, rules.Yes},
		{"--gid-owner 5 --suppl-groups", nat.Output, root, rules.Yes},
		{"--socket-exists", nat.Output, root, rules.Yes},
		{"! --socket-exists", nat.Output, root, rules.No},
		{"--socket-exists", nat.Output, rules.Sender{}, rules.Unknown},
	} {
		t.Run(row.options, func(t *testing.T) {
			t.Parallel()
			v := rules.Visit{Packet: &rules.Packet{Sender: row.sender}, World: &world{}, Hook: row.hook}
			require.Equal(t, row.want, holdsFor(t, row.options, &v), "%s at %s for %v", row.options, row.hook, row.sender)
		})
	}
}

// One packet has one sender: what has been assumed of it decides further questions.
func TestOwnerIsAssumedOnce(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		first string
		yes   bool
		next  string
		want  rules.Answer
		asked int // questions
	}{
		{"--uid-owner 1337", true, "! --uid-owner 1337", rules.No, 1},
		{"--uid-owner 1337", false, "! --uid-owner 1337", rules.Yes, 1},
		{"! --uid-owner 1337", false, "--uid-owner 1337", rules.No, 1},
		{"--uid-owner 1337", true, "--uid-owner 0-2000", rules.Yes, 1},
		{"--uid-owner 1337", true, "--uid-owner 0", rules.No, 1},
		{"--uid-owner 0-9", true, "--uid-owner 10-20", rules.No, 1},
		{"--uid-owner 0-9", false, "--uid-owner 5", rules.No, 1},
		{"--uid-owner 5", false, "--uid-owner 4-5", rules.No, 2},
		{"--uid-owner 0-4294967294", true, "--socket-exists", rules.Yes, 0},
		{"--uid-owner 7", true, "--gid-owner 7", rules.Yes, 2},
		{"--gid-owner 7", false, "--gid-owner 7 --suppl-groups", rules.No, 2},
		{"--uid-owner www-data", true, "! --uid-owner www-data", rules.No, 1},
	} {
		t.Run(row.first, func(t *testing.T) {
			t.Parallel()
			d := &asked{yes: row.yes}
			v := rules.Visit{
				Packet: &rules.Packet{Sender: rules.Sender{Socket: rules.ProcessSocket}}, World: &world{}, Decider: d, Hook: nat.Output,
			}
			holdsFor(t, row.first, &v)
			require.Equal(t, row.want, holdsFor(t, row.next, &v), "%s, then %s", row.first, row.next)
			require.Len(t, d.assumed, row.asked, "%s, then %s", row.first, row.next)
		})
	}
}

// A name has no number here, so no bytes.
func TestOwnerByName(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ options, saved, fails string }{
		{"--uid-owner debian-tor", "--uid-owner debian-tor", ""},
		{"--gid-owner 10:20", "--gid-owner 10-20", ""},
		{"--uid-owner 20-10", "", "want a number"},
		{"--uid-owner 4294967295", "", "want a number"},
		{"--suppl-groups --gid-owner 1", "", "needs --gid-owner in front of it"},
	} {
		t.Run(row.options, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule("-m owner "+row.options, nat.IPv4)
			if row.fails != "" {
				require.ErrorContains(t, err, row.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.saved, xt.Options(r.Matches[0], nat.IPv4))
		})
	}
	x, _ := xt.Find("owner", xt.MatchKind, nat.IPv4)
	l, _ := x.Written(nat.IPv4, xt.Newest)
	require.ErrorContains(t, l.Encode(xt.Owner{UID: &xt.OwnerID{Named: "tor"}}, make([]byte, l.Size), nil), `"tor" is not known`)
}
