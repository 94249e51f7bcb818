package nat_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Each condition of a filter takes one entry and not another.
func TestEntryFilter(t *testing.T) {
	t.Parallel()
	tuple := func(p nat.Proto, src, dst string) nat.Tuple {
		return nat.TupleOf(p, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	}
	all := map[string]nat.Entry{
		"dnat":  {Conn: nat.Conn{Original: tuple(nat.TCP, "10.0.1.2:5000", "10.96.0.1:80"), Reply: tuple(nat.TCP, "10.0.2.2:8080", "10.0.1.2:5000"), Status: nat.SeenReply | nat.Assured}, State: "ESTABLISHED"},
		"snat":  {Conn: nat.Conn{Original: tuple(nat.UDP, "10.0.1.3:5001", "10.9.9.9:53"), Reply: tuple(nat.UDP, "10.9.9.9:53", "10.0.0.1:61000"), Mark: 0x4001}},
		"plain": {Conn: nat.Conn{Original: tuple(nat.UDP, "[fd00::1]:7", "[fd00::2]:9"), Reply: tuple(nat.UDP, "[fd00::2]:9", "[fd00::1]:7"), Status: nat.SeenReply}, Zone: 7},
	}
	prefix := netip.MustParsePrefix
	six, zone := nat.IPv6, uint16(7)
	mark := func(text string) *nat.Mark {
		m, err := nat.ParseMark(text)
		require.NoError(t, err)
		return &m
	}
	status := func(text string) (f nat.EntryFilter) {
		require.NoError(t, f.ParseStatusFilter(text))
		return f
	}
	for _, row := range []struct {
		name string
		f    nat.EntryFilter
		want []string
	}{
		{"all", nat.EntryFilter{}, []string{"dnat", "plain", "snat"}},
		{"family", nat.EntryFilter{Family: &six}, []string{"plain"}},
		{"protocol", nat.EntryFilter{Proto: nat.TCP}, []string{"dnat"}},
		{"source", nat.EntryFilter{Src: prefix("10.0.1.3/32")}, []string{"snat"}},
		{"network", nat.EntryFilter{Src: prefix("10.0.0.0/16")}, []string{"dnat", "snat"}},
		{"destination", nat.EntryFilter{Dst: prefix("10.96.0.1/32")}, []string{"dnat"}},
		{"answers from", nat.EntryFilter{ReplySrc: prefix("10.0.2.0/24")}, []string{"dnat"}},
		{"answers to", nat.EntryFilter{ReplyDst: prefix("10.0.0.1/32")}, []string{"snat"}},
		{"source port", nat.EntryFilter{Sport: 7}, []string{"plain"}},
		{"destination port", nat.EntryFilter{Dport: 80}, []string{"dnat"}},
		{"answers' ports", nat.EntryFilter{ReplySport: 53, ReplyDport: 61000}, []string{"snat"}},
		{"state", nat.EntryFilter{State: "established"}, []string{"dnat"}},
		{"mark", nat.EntryFilter{Mark: mark("0x4001")}, []string{"snat"}},
		{"bits of the mark", nat.EntryFilter{Mark: mark("0x4000/0x4000")}, []string{"snat"}},
		{"no mark", nat.EntryFilter{Mark: mark("0")}, []string{"dnat", "plain"}},
		{"zone", nat.EntryFilter{Zone: &zone}, []string{"plain"}},
		{"status", status("assured,seen_reply"), []string{"dnat"}},
		{"unreplied", status("UNREPLIED"), []string{"snat"}},
		{"translated source", nat.EntryFilter{SrcNAT: true}, []string{"snat"}},
		{"translated destination", nat.EntryFilter{DstNAT: true}, []string{"dnat"}},
		{"translated", nat.EntryFilter{AnyNAT: true}, []string{"dnat", "snat"}},
		{"two at once", nat.EntryFilter{AnyNAT: true, Proto: nat.UDP}, []string{"snat"}},
	} {
		var got []string
		for _, name := range []string{"dnat", "plain", "snat"} {
			if e := all[name]; row.f.Takes(&e) {
				got = append(got, name)
			}
		}
		require.Equal(t, row.want, got, row.name)
	}
	var f nat.EntryFilter
	require.ErrorContains(t, f.ParseStatusFilter("ASSURED,NEW"), `status "NEW" is not known: want UNREPLIED, EXPECTED, SEEN_REPLY`)
	_, err := nat.ParseMark("0x4000/mask")
	require.EqualError(t, err, `mark "0x4000/mask": want VALUE or VALUE/MASK`)
}
