package nftnl_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"natlab/nat/nftables"
	"natlab/nat/nftnl"
)

// table has a bit of everything, without sets that stand in rules: the kernel names those.
const table = `table ip t {
	comment "of the table"
	counter n {
		comment "of the counter"
		packets 3 bytes 200
	}

	set s {
		type ipv4_addr
		flags interval
		auto-merge
		comment "ranges"
		elements = { 10.0.0.0/8, 192.168.0.4-192.168.0.9,
			     240.0.0.0/4 }
	}

	set d {
		type ipv4_addr . inet_service
		size 65535
		flags dynamic,timeout
		timeout 3h
		elements = { 10.0.0.1 . 80 timeout 5m expires 4m }
	}

	map m {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.0.0.2 . udp . 53 : drop,
			     10.0.0.1 . tcp . 80 comment "x" : goto a }
	}

	map k {
		type ipv4_addr : mark
		flags interval
		elements = { 10.0.0.0/8 : 0x00000001, * : 0x00000005 }
	}

	map ends {
		type ipv4_addr : ipv4_addr
		elements = { 10.0.0.3 : 10.0.0.5 }
	}

	map ports {
		type inet_service : inet_service
		elements = { 81 : 8080 }
	}

	chain a {
		comment "of the chain"
	}

	chain c {
		type nat hook prerouting priority dstnat; policy accept;
		ip saddr @s counter name "n" return comment "of the rule"
		ip daddr . meta l4proto . th dport vmap @m
		meta mark set ip saddr map @k
		meta mark set meta mark | 0x00004000
		ct state new update @d { ip saddr . tcp dport timeout 1m }
		ip saddr != 10.4.0.0/14 tcp dport 1-1024 tcp flags ! syn drop
		iif "lo" jump a
		meta l4proto udp dnat to 10.0.0.1-10.0.0.9:53 random,persistent
		meta l4proto tcp dnat to ip saddr map @ends:80
		tcp dport 81 dnat to 10.0.0.5:tcp dport map @ports
	}
}
`

// dumped is a transaction's messages as the kernel would dump what they have made.
func dumped(t *testing.T, tx nftnl.Transaction) nftnl.Dump {
	t.Helper()
	messages, err := nftnl.Encode(tx)
	require.NoError(t, err)
	d := nftnl.Dump{Family: tx.Family, Elements: map[nftnl.SetName][][]byte{}, Devices: map[uint32]string{1: "lo"}}
	for _, m := range messages {
		switch c := tx.Commands[m.Command]; {
		case c.Table != nil:
			d.Tables = append(d.Tables, m.Attrs)
		case c.Chain != nil:
			d.Chains = append(d.Chains, m.Attrs)
		case c.Set != nil:
			d.Sets = append(d.Sets, m.Attrs)
		case c.Object != nil:
			d.Objects = append(d.Objects, m.Attrs)
		case c.Rule != nil:
			d.Rules = append(d.Rules, m.Attrs)
		case c.Element != nil:
			name := nftnl.SetName{Table: tx.Table, Set: c.In}
			d.Elements[name] = append(d.Elements[name], m.Attrs)
		}
	}
	return d
}

func whole(t *testing.T) (nftnl.Transaction, nftables.Ruleset) {
	t.Helper()
	rs, err := nftables.ParseText(table)
	require.NoError(t, err)
	tx := nftnl.Whole(&rs.Tables[0])
	tx.Devices = map[string]uint32{"lo": 1}
	return tx, rs
}

// What is written is read as what it was written of.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	tx, want := whole(t)
	got, err := nftnl.Decode(dumped(t, tx))
	require.NoError(t, err)
	require.Equal(t, table, got.String())
	require.False(t, nftnl.Unread(got))
	require.Empty(t, cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(nftables.Rule{}, "Line", "Handle")))
}

// What is not written is named, with the command that it is in.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ inside, want string }{
		{"\tchain c {\n\t\tip saddr 10.0.0.1 log prefix \"x\"\n\t}\n", `add rule c ip saddr 10.0.0.1 log prefix "x": "log prefix \"x\""`},
		{"\tchain c {\n\t\tsocket transparent 1 accept\n\t}\n", `"socket transparent 1"`},
		{"\tchain c {\n\t\txt match \"comment\"\n\t}\n", `xt match`},
		{"\tset s {\n\t\ttypeof ip saddr\n\t}\n", "add set s: a set that is declared by typeof ip saddr"},
		{"\tset s {\n\t\ttype hour\n\t}\n", "add set s: a set of [hour]"},
		{"\tct helper h {\n\t\ttype \"ftp\" protocol tcp\n\t}\n", "an object of kind ct helper"},
		{"\tchain c {\n\t\ttype filter hook ingress device \"lo\" priority 0; policy accept;\n\t}\n", "hook ingress of family ip"},
	} {
		rs, err := nftables.ParseText("table ip t {\n" + row.inside + "}\n")
		require.NoError(t, err)
		messages, err := nftnl.Encode(nftnl.Whole(&rs.Tables[0]))
		require.ErrorIs(t, err, nftnl.ErrUnwritten, row.inside)
		require.ErrorContains(t, err, row.want)
		require.Nil(t, messages)
	}
}

// FuzzDecode gives the reader what no kernel sends.
func FuzzDecode(f *testing.F) {
	rs, err := nftables.ParseText(table)
	require.NoError(f, err)
	tx := nftnl.Whole(&rs.Tables[0])
	tx.Devices = map[string]uint32{"lo": 1}
	messages, err := nftnl.Encode(tx)
	require.NoError(f, err)
	kinds := func(c *nftnl.Command) uint8 {
		for i, is := range []bool{c.Chain != nil, c.Set != nil, c.Object != nil, c.Rule != nil, c.Element != nil} {
			if is {
				return uint8(i)
			}
		}
		return 9
	}
	for _, m := range messages {
		f.Add(kinds(&tx.Commands[m.Command]), m.Attrs)
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		whole := nftnl.Whole(&rs.Tables[0])
		whole.Devices = tx.Devices
		d := dumped(t, whole)
		switch kind {
		case 0:
			d.Chains = append(d.Chains, b)
		case 1:
			d.Sets = append(d.Sets, b)
		case 2:
			d.Objects = append(d.Objects, b)
		case 3:
			d.Rules = append(d.Rules, b)
		case 4:
			for name := range d.Elements {
				d.Elements[name] = append(d.Elements[name], b)
			}
		default:
			d.Tables = append(d.Tables, b)
		}
		got, err := nftnl.Decode(d)
		if err != nil {
			require.Empty(t, got.Tables)
		}
		_ = got.String()
	})
}
