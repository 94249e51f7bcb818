package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/gateway"
)

// A packet is read as it is printed: want is "" where that is the same text.
func TestParseSpec(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80", ""},
		{"tcp 10.0.0.1 > 10.0.0.2:80", ""},
		{"udp fd00::1 > [fd00::2]:53 in eth0", ""},
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80 in eth0 mark 0x4000 flags SA", ""},
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80 flags AS mark 16384 in eth0", "tcp 10.0.0.1:40000 > 10.0.0.2:80 in eth0 mark 0x4000 flags SA"},
		{"udp [2001:db8::1]:53 > [2001:db8::2]:53 in node", ""},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 from shop/web", ""},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 3/1", ""},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 8", "icmp 10.0.0.1:7 > 10.0.0.2:7"},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 0", "icmp 10.0.0.1:7 > 10.0.0.2:7 type 0/0"},
		{"icmp 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1:0 > 10.0.0.2:0"},
		{"icmpv6 fd00::1 > fd00::2 type 129/0 in eth0", "icmpv6 [fd00::1]:0 > [fd00::2]:0 in eth0 type 129/0"},
		{"gre 10.0.0.1 > 10.0.0.2", "gre 10.0.0.1:0 > 10.0.0.2:0"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 flags FSRPAUEW", ""},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 in node uid 1337 gid 0", ""},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.text)
			require.NoError(t, err, row.text)
			if row.want == "" {
				row.want = row.text
			}
			require.Equal(t, row.want, s.String())
		})
	}
	for _, row := range []struct{ text, want string }{
		{"", "want"},
		{"tcp 10.0.0.1:1 > 10.0.0.2", "destination"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 in", "in is not followed by anything"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 mark red", "mark red: want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 mark 0x100000000", "want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 flags SX", "flags SX: want letters of FSRPAUEW"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 uid root", "uid root: want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 gid 4294967295", "want a number"},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1 type 256", "want an ICMP type"},
		{"icmp 10.0.0.1:8 > 10.0.0.2:0", `want "icmp 10.0.0.1 > 10.0.0.2", with a type behind it`},
		{"tcp 10.0.0.1:1 > 10.0.0.2:1 type 8", "type 8: tcp has no type"},
		{"dccp 10.0.0.1 > 10.0.0.2", "destination: "},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1 type 3/256", "want an ICMP type"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 out eth0", "out is not known: want in, from, mark, flags, type, uid or gid"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.text)
			require.ErrorContains(t, err, row.want, row.text)
			require.Zero(t, s)
		})
	}
}

func TestReadSpecs(t *testing.T) {
	t.Parallel()
	const one, two = "tcp 10.0.0.1:1 > 10.0.0.2:2", "udp 10.0.0.1:1 > 10.0.0.2:2 in eth0"
	all, err := gateway.ReadSpecs(strings.NewReader("# packets\n\n" + one + "\n  " + two + "\n"))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, one, all[0].String())
	require.Equal(t, two, all[1].String())
	all, err = gateway.ReadSpecs(strings.NewReader(one + "\n\nnonsense\n"))
	require.ErrorContains(t, err, "line 3: ")
	require.Empty(t, all)
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{"tcp 10.0.0.1:1 > 10.0.0.2:2 in eth0 from a/b mark 0x1 flags SA", "icmp [::1]:1>[::2]:1 type 128/3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := gateway.ParseSpec(text)
		if err != nil {
			require.Zero(t, s)
			return
		}
		again, err := gateway.ParseSpec(s.String())
		require.NoError(t, err, s)
		require.Equal(t, s, again)
	})
}
