package xt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// answers asks the matches of a rule for a packet, all of which have to hold.
func answers(t *testing.T, rule string, p *rules.Packet, w rules.World) (rules.Answer, string) {
	t.Helper()
	family := nat.IPv4
	if p.Tuple.IsValid() {
		family = nat.FamilyOf(p.Tuple.Src().Addr())
	}
	r, err := iptables.ParseRule(rule, family)
	require.NoError(t, err, rule)
	v := rules.Visit{Packet: p, World: w, Hook: nat.Forward}
	for i, m := range r.Matches {
		v.At = rules.Place{Table: "filter", Chain: "X", Rule: 1, Match: i + 1}
		if a := m.Holds(&v); a != rules.Yes {
			return a, m.Actual(&v)
		}
	}
	return rules.Yes, ""
}

// What -m conntrack answers for the answer to a translated connection, and what it says the connection has instead.
func TestConntrackAsksTheConnection(t *testing.T) {
	t.Parallel()
	asked, err := nat.ParseTuple("tcp 192.0.2.99:40000 > 192.0.2.10:8080")
	require.NoError(t, err)
	reply, err := nat.ParseTuple("tcp 172.17.0.2:80 > 192.0.2.99:40000")
	require.NoError(t, err)
	packet := &rules.Packet{Tuple: reply, State: rules.Established | rules.DNATed}
	w := &world{conn: rules.Conn{
		Original: asked, Reply: reply, Dir: nat.Reply, Status: nat.SeenReply | nat.Confirmed | nat.DstNAT, Expires: 90500 * time.Millisecond,
	}}
	for _, row := range []struct {
		rule, actual string // "": it holds
	}{
		{"--ctstate DNAT", ""},
		{"! --ctstate ESTABLISHED", "state ESTABLISHED,DNAT"},
		{"--ctorigdstport 8080 --ctorigdst 192.0.2.10", ""},
		{"--ctorigdstport 80", "original destination port 8080"},
		{"--ctorigdstport 8081:8079", "original destination port 8080"},
		{"! --ctorigdstport 8000:8100", "original destination port 8080"},
		{"--ctorigsrcport 40000 --ctorigsrc 192.0.2.1/24", ""},
		{"--ctorigsrc 192.0.3.0/24", "original source 192.0.2.99"},
		{"--ctreplsrc 172.17.0.2 --ctreplsrcport 80", ""},
		{"--ctrepldst 172.17.0.2", "reply destination 192.0.2.99"},
		{"! --ctrepldstport 40000", "reply destination port 40000"},
		{"--ctproto 6", ""},
		{"--ctproto udp", "protocol tcp"},
		{"--ctstatus ASSURED,SEEN_REPLY", ""},
		{"--ctstatus ASSURED", "status SEEN_REPLY|CONFIRMED|DST_NAT"},
		{"--ctstatus NONE", "status SEEN_REPLY|CONFIRMED|DST_NAT"},
		{"! --ctstatus NONE", ""},
		{"--ctexpire 90", ""},
		{"--ctexpire 91:100", "90 s to live"},
		{"--ctdir REPLY", ""},
		{"--ctdir ORIGINAL", "direction reply"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			answer, actual := answers(t, "-m conntrack "+row.rule, packet, w)
			require.Equal(t, row.actual, actual, row.rule)
			require.Equal(t, rules.Is(row.actual == "", false), answer, row.rule)
		})
	}
}

// Without a connection the state alone counts; before its confirmation nobody knows how long a connection is to live.
func TestConntrackOfNoConnection(t *testing.T) {
	t.Parallel()
	tuple, err := nat.ParseTuple("udp 10.0.0.1:5 > 10.0.0.2:53")
	require.NoError(t, err)
	fresh := &world{conn: rules.Conn{Original: tuple, Reply: tuple.Reply()}}
	for _, row := range []struct {
		rule  string
		state rules.State
		want  rules.Answer
	}{
		{"--ctstate INVALID --ctproto 99", rules.Invalid, rules.Yes},
		{"--ctstate UNTRACKED --ctorigdstport 1", rules.Untracked, rules.Yes},
		{"--ctproto 17", rules.Invalid, rules.No},
		{"! --ctproto 99", rules.Untracked, rules.No},
		{"--ctexpire 0:10", rules.New, rules.Unknown},
		{"--ctexpire 0:", rules.New, rules.Yes},
		{"--ctproto 6 --ctexpire 0:10", rules.New, rules.No},
		{"--ctstatus NONE", rules.New, rules.No},
		{"! --ctstatus CONFIRMED", rules.New, rules.Yes},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			answer, _ := answers(t, "-m conntrack "+row.rule, &rules.Packet{Tuple: tuple, State: row.state}, fresh)
			require.Equal(t, row.want, answer, row.rule)
		})
	}
}

// Revisions before 3 have one port, in network order, and say so where it takes two.
func TestConntrackOfOldRevisions(t *testing.T) {
	t.Parallel()
	x, ok := xt.Find("state", xt.MatchKind, nat.IPv4)
	require.True(t, ok)
	for _, row := range []struct {
		rule     string
		revision uint8
		fails    string
	}{
		{"-m conntrack --ctorigdstport 80 --ctstate NEW", 2, ""},
		{"-m conntrack --ctorigdstport 80:81", 2, "needs revision 3"},
		{"-m conntrack --ctstatus ASSURED ! --ctstate DNAT", 1, ""},
		{"-m state --state UNTRACKED", 1, "needs revision 2"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule(row.rule, nat.IPv4)
			require.NoError(t, err)
			l, ok := x.Layout(nat.IPv4, row.revision)
			require.True(t, ok)
			d, env := make([]byte, l.Size), &xt.Env{Family: nat.IPv4}
			err = l.Encode(r.Matches[0], d, env)
			if row.fails != "" {
				require.ErrorContains(t, err, row.fails)
				return
			}
			require.NoError(t, err)
			back, ok := l.Decode(d, env)
			require.True(t, ok)
			require.Equal(t, r.Matches[0], back)
		})
	}
}
