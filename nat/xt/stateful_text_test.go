package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// spelling is a rule as somebody writes it, and as iptables-save prints it; "" where iptables refuses it.
type spelling struct{ written, saved string }

// checkSpellings reads each rule, of IPv4.
func checkSpellings(t *testing.T, rows []spelling) {
	t.Helper()
	for _, row := range rows {
		r, err := iptables.ParseRule(row.written, nat.IPv4)
		if row.saved == "" {
			require.Error(t, err, row.written)
			continue
		}
		require.NoError(t, err, row.written)
		require.Equal(t, "-A X "+row.saved, r.Text("X"), row.written)
	}
}

// As iptables 1.8.9 answered each of them.
func TestConntrackSpellings(t *testing.T) {
	t.Parallel()
	checkSpellings(t, []spelling{
		{"-m conntrack --ctorigsrc 10.1.2.3/8", "-m conntrack --ctorigsrc 10.1.2.3/8"},
		{"-m conntrack --ctorigsrc 10.1.2.3/255.0.255.0", "-m conntrack --ctorigsrc 10.1.2.3"}, // a mask with a hole is a full one
		{"-m conntrack --ctorigsrc 10.1.2.3/255.255.0.0", "-m conntrack --ctorigsrc 10.1.2.3/16"},
		{"-m conntrack --ctorigsrc 10.1.2.3/0", "-m conntrack --ctorigsrc 10.1.2.3/0"},
		{"-m conntrack --ctorigsrc 10.1.2.3/33", ""},
		{"-m conntrack --ctorigsrc 10.1.2", ""},
		{"-m conntrack --ctstate e,n,Sn", "-m conntrack --ctstate NEW,ESTABLISHED,SNAT"},
		{"-m conntrack --ctstate NEWER", ""},
		{"-m conntrack --ctstate NEW,", ""},
		{"-m conntrack --ctproto TCP", "-m conntrack --ctproto 6"},
		{"-m conntrack ! --ctproto 0", "-m conntrack ! --ctproto 0"},
		{"-m conntrack --ctproto 256", ""},
		{"-m conntrack --ctproto tcp --ctproto 6", ""},
		{"-m conntrack --ctorigdstport 80:", "-m conntrack --ctorigdstport 80:65535"},
		{"-m conntrack --ctorigdstport :80", "-m conntrack --ctorigdstport 0:80"},
		{"-m conntrack --ctorigdstport :", "-m conntrack --ctorigdstport 0:65535"},
		{"-m conntrack --ctorigdstport 5:0", "-m conntrack --ctorigdstport 5"},
		{"-m conntrack --ctorigdstport 65536", ""},
		{"-m conntrack --ctexpire 5:", "-m conntrack --ctexpire 5:4294967295"},
		{"-m conntrack --ctexpire 7:5", "-m conntrack --ctexpire 7:5"},
		{"-m conntrack --ctexpire 42949672956", ""},
		{"-m conntrack --ctexpire -1", ""},
		{"-m conntrack --ctstatus none", "-m conntrack --ctstatus NONE"},
		{"-m conntrack --ctstatus N,A", "-m conntrack --ctstatus ASSURED"},
		{"-m conntrack --ctdir reply", "-m conntrack --ctdir REPLY"},
		{"-m conntrack --ctdir rep", ""},
		{"-m conntrack ! --ctdir REPLY", ""},
		{"-m conntrack", ""},
		{"-m conntrack --state NEW", ""},
		{"-m state --state UNTR", "-m state --state UNTRACKED"},
		{"-m state ! --state new,rel", "-m state ! --state NEW,RELATED"},
		{"-m state --state SNAT", ""},
		{"-m state --state NEW --state NEW", ""},
		{"-m state --ctstate NEW", ""},
		{"-m state", ""},
	})
}
