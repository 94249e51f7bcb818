package ipset

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat/rules"
)

// What ipset prints of a kernel's sets is read alike from save and list.
func TestParseWhatIpsetPrints(t *testing.T) {
	t.Parallel()
	read := func(file string) Sets {
		b, err := os.ReadFile("testdata/" + file)
		require.NoError(t, err)
		sets, err := Parse(string(b))
		require.NoError(t, err)
		return sets
	}
	save, list := read("linux-6.18.save"), read("linux-6.18.list")
	require.Equal(t, save, list)
	require.Empty(t, save.Unread())
	s := NewState(save, time.Time{})
	for _, row := range []struct{ packet, query, want string }{
		{"tcp 10.0.1.9:1 > 10.0.0.1:80", "ip24 src", "yes"},
		{"tcp 10.9.0.9:1 > 10.0.0.1:80", "ipbm src", "no"},
		{"tcp 10.3.7.9:1 > 10.0.0.1:80", "ipbm src", "yes"},
		{"tcp 10.0.0.1:1 > 10.0.0.1:80", "ipt src", "yes"},
		{"icmp 10.0.0.1:1 > 10.0.0.1:1", "ipport src,src", "yes"},
		{"vrrp 10.0.0.1 > 10.0.0.1", "ipport src,src", "yes"},
		{"tcp 10.0.0.1:1 > 10.1.0.1:80", "netport dst,dst", "no"},
		{"tcp 10.0.0.1:1 > 10.2.0.1:81", "netport dst,dst", "yes"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:80", "ipportip src,dst,dst", "yes"},
		{"tcp 10.0.0.1:1 > 10.200.0.2:80", "ipportnet src,dst,dst", "yes"},
		{"tcp 10.0.0.31:1 > 10.200.0.2:80", "bip28 src", "yes"},
		{"tcp 10.0.0.32:1 > 10.200.0.2:80", "bip28 src", "no"},
		{"tcp 200.0.0.1:1 > 200.0.0.2:80", "list src", "no"},
		{"tcp 100.0.0.1:1 > 200.0.0.2:80", "list src", "yes"},
		{"tcp 10.1.0.1:1 > 200.0.0.2:80", "list src", "no"},
	} {
		require.Equal(t, row.want, s.Ask(at(t, row.packet, "eth0"), nil, query(t, row.query), time.Time{}).String(), "%s %s", row.packet, row.query)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"create a hash:ip;add a nowhere":                      "line 2: set a: nowhere: ",
		"create a":                                            `line 1: "create a": want create or add`,
		";flush a":                                            `line 2: "flush a": want create or add`,
		"add a 10.0.0.1":                                      "line 1: set a: it has not been created",
		"create a hash:ip;add a ::1":                          "it is of the other family",
		"create a hash:ip,port;add a 10.0.0.1":                "want 2 parts for a hash:ip,port",
		"create a hash:ip,port;add a 10.0.0.1,tcp:http":       "want a port",
		"create a hash:ip,port;add a 10.0.0.1,icmp:nothing":   "want a name of ICMP, or TYPE/CODE",
		"create a hash:ip colour blue":                        `set a: "colour": natlab does not know it`,
		"create a hash:ip;add a 10.0.0.1 colour blue":         `"colour": natlab does not know it`,
		"create a hash:ip timeout":                            "timeout: its value is missing",
		"create a hash:ip;add a 10.0.0.0/8":                   "more than 65536 members",
		"create a hash:ip,port;add a 10.0.0.0/24,1-1000":      "more than 65536 members",
		"create a bitmap:ip range 10.0.0.0/24;add a 10.0.1.0": "outside of the set's range",
		"create a hash:net;add a 10.0.0.9-10.0.0.1":           "want the lower address in front of the higher one",
		"create a hash:mac;add a 1:2":                         "want six hexadecimal octets",
		"create a list:set;add a b":                           "set a: its member b is not there",
		`create a hash:ip comment;add a 10.0.0.1 comment "x`:  "line 2: a quote is not closed",
		"Name: a;Header: family inet":                         "want Type",
		"Name: a":                                             "its type is not there",
		"Name: a;Type: hash:ip;Header: family inet;Number of entries: 2;Members:;10.0.0.1": "it has 2 members, and 1 are there",
		"Name: a;Type: hash:ip;something":                                                  "want Members",
		"<ipsets>":                                                                         "want create or add",
	} {
		sets, err := Parse(strings.ReplaceAll(text, ";", "\n"))
		require.ErrorContains(t, err, want, text)
		require.Nil(t, sets)
	}
}

// No set is left out in silence.
func TestUnread(t *testing.T) {
	t.Parallel()
	sets := lines(t, "create b hash:new whatever 3;add b x,y;create a hash:ip;create c hash:ip")
	require.Equal(t, []string{"set b: nothing is known of what is in it: natlab does not know the type hash:new"}, sets.Unread())
	sets = lines(t, "Name: a;Type: hash:ip;Revision: 6;Header: family inet hashsize 1024;Number of entries: 3;;Name: b;Type: hash:ip;Header: family inet;Members:")
	require.Equal(t, []string{"set a: nothing is known of what is in it: its members are not printed"}, sets.Unread())
	require.Len(t, sets, 2)
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"linux-6.18.save", "linux-6.18.list"} {
		b, err := os.ReadFile("testdata/" + file)
		require.NoError(f, err)
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		sets, err := Parse(text)
		if err != nil {
			require.Nil(t, sets)
			return
		}
		p := at(t, "tcp 10.0.0.1:1 > 10.0.0.2:80", "eth0")
		s := NewState(sets, time.Unix(0, 0))
		for name := range sets {
			q := rules.SetQuery{Set: name, Dims: rules.SetDims{Count: 3, Src: 5}}
			s.Ask(p, ether(""), q, time.Unix(1, 0))
			s.Change(p, ether("2:0:0:0:0:1"), rules.SetChange{Set: name, Dims: q.Dims}, time.Unix(1, 0))
			s.Change(p, ether("2:0:0:0:0:1"), rules.SetChange{Set: name, Dims: q.Dims, Delete: true}, time.Unix(2, 0))
		}
	})
}
