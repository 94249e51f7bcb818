package iptables_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// Each protocol is met by the name that iptables-save prints, by its number and by no other's, in the linear walk and compiled.
func TestProtocolsAreCompared(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr("10.0.0.1")
	for n := 1; n < 256; n++ {
		for _, spelt := range []string{nat.Proto(n).RuleName(), fmt.Sprint(n), fmt.Sprintf("%#x", n)} {
			rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p "+spelt+" -j DROP\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			require.Contains(t, rs.String(), "-A FORWARD -p "+nat.Proto(n).RuleName()+" -j DROP")
			for _, other := range []int{n, n ^ 1, n ^ 64} {
				want := nat.Accept
				if other == n {
					want = nat.Drop
				}
				p := rules.Packet{Tuple: nat.TupleOf(nat.Proto(other), netip.AddrPortFrom(addr, 0), netip.AddrPortFrom(addr, 0))}
				got := iptables.NewProgram(rs.Tables[0]).Run(nat.Forward, "", &p, &remembering{})
				require.Equal(t, want, got.Verdict, "%s, packet of %d", spelt, other)
				v, _ := iptables.Compile(rs.Tables[0]).Run(nat.Forward, &p, &remembering{}, nil)
				require.Equal(t, want, v, "%s, packet of %d", spelt, other)
			}
		}
	}
}

// Ports of every protocol that has some are compared, by its own match and by multiport.
func TestPortsOfProtocols(t *testing.T) {
	t.Parallel()
	from, to := netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.2:80")
	for _, row := range []struct {
		rule  string
		proto nat.Proto
		met   bool
	}{
		{"-p tcp -m tcp --dport 80", nat.TCP, true},
		{"-p tcp -m tcp --dport 80", nat.UDP, false},
		{"-p udp -m udp --dport 80", nat.UDP, true},
		{"-p sctp -m sctp --dport 80", nat.SCTP, true},
		{"-p dccp -m dccp --dport 80", nat.DCCP, true},
		{"-p dccp -m dccp --dport 81", nat.DCCP, false},
		{"-p dccp -m multiport --dports 80", nat.DCCP, true},
		{"-p udplite -m multiport --dports 80,81", nat.UDPLite, true},
		{"-p udplite -m multiport --sports 80,81", nat.UDPLite, false},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD "+row.rule+" -j DROP\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			want := nat.Accept
			if row.met {
				want = nat.Drop
			}
			p := rules.Packet{Tuple: nat.TupleOf(row.proto, from, to)}
			require.Equal(t, want, iptables.NewProgram(rs.Tables[0]).Run(nat.Forward, "", &p, &remembering{}).Verdict, row.rule)
			v, _ := iptables.Compile(rs.Tables[0]).Run(nat.Forward, &p, &remembering{}, nil)
			require.Equal(t, want, v, row.rule)
		})
	}
}
