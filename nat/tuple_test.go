package nat

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTuple(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, in, want, err string }{
		{"tcp", "tcp 192.168.26.1:40000 > 192.168.26.100:30450", "tcp 192.168.26.1:40000 > 192.168.26.100:30450", ""},
		{"white space varies", " tcp\t10.0.0.1:1>10.0.0.2:2 ", "tcp 10.0.0.1:1 > 10.0.0.2:2", ""},
		{"IPv6", "udp [fd00::1]:1 > [fd00::2]:53", "udp [fd00::1]:1 > [fd00::2]:53", ""},
		{"an IPv4 address as IPv6 has it", "udp [::ffff:10.0.0.1]:1 > 10.0.0.2:53", "udp 10.0.0.1:1 > 10.0.0.2:53", ""},
		{"icmp without ids", "icmp 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1:0 > 10.0.0.2:0", ""},
		{"a protocol by number", "200 10.0.0.1 > 10.0.0.2", "200 10.0.0.1:0 > 10.0.0.2:0", ""},
		{"no ports", "tcp 10.0.0.1 > 10.0.0.2:80", "", "source"},
		{"no destination", "tcp 10.0.0.1:1 >", "", `want "PROTO SRC:PORT > DST:PORT"`},
		{"no arrow", "tcp 10.0.0.1:1 10.0.0.2:2 x", "", "want"},
		{"no such protocol", "tpc 10.0.0.1:1 > 10.0.0.2:2", "", `"tpc"`},
		{"a port that does not fit", "tcp 10.0.0.1:1 > 10.0.0.2:65536", "", "destination"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseTuple(row.in)
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, got.String())
		})
	}
}

// What is read is printed and read again as the same, and its reply's reply is itself.
func FuzzParseTuple(f *testing.F) {
	for _, s := range []string{
		"tcp 192.168.26.1:40000 > 192.168.26.100:30450", "icmp 10.0.0.1 > 10.0.0.2", "icmpv6 fd00::1 > fd00::2", "udp [fe80::1%eth0]:1 > [::ffff:1.2.3.4]:2",
		"255 10.0.0.1:7 > 10.0.0.2:8", "none", "tcp 10.0.0.1:1 > 10.0.0.2", ">", "tcp :1 > :2", "ipip 0.0.0.0 > 0.0.0.0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTuple(s)
		if err != nil {
			require.Equal(t, Tuple{}, got)
			return
		}
		require.True(t, got.IsValid())
		for _, a := range []netip.AddrPort{got.Src(), got.Dst()} {
			require.False(t, a.Addr().Is4In6(), "equal flows are equal")
		}
		again, err := ParseTuple(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
		require.Equal(t, got, got.Reply().Reply())
		text, err := got.MarshalText()
		require.NoError(t, err)
		var back Tuple
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, got, back)
	})
}
