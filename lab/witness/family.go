package witness

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// layout is where an address family's packets have what the taps' rules look at, from the start of the network header. It holds for
// headers without options and extensions, which no packet that the rules are to find has.
type layout struct {
	table     nftables.TableFamily
	number    byte   // NFPROTO_IPV4 or NFPROTO_IPV6: of tables, and of net.netfilter.nf_log
	header    uint32 // bytes
	protoAt   uint32 // where the protocol of what follows stands
	etherType uint16
	icmp      byte // the protocol's number
	// queries is the lowest ICMP type that is no business of the taps: neighbour discovery and multicast listeners' reports are ICMPv6 as
	// well (RFC 4861, RFC 2710). 0: there is none.
	queries    byte
	icmpErrors []uint8
	ipip       bool // its packets are carried by IPIP
	fragment   bool // fragments have a header of their own
}

// layoutOf is a family's.
func layoutOf(f nat.Family) layout {
	if f == nat.IPv6 {
		return layout{
			table: nftables.TableFamilyIPv6, number: unix.NFPROTO_IPV6, header: ipv6Header, protoAt: 6, etherType: etherIPv6,
			icmp: unix.IPPROTO_ICMPV6, queries: 130, icmpErrors: icmpv6Errors[:], fragment: true,
		}
	}
	return layout{
		table: nftables.TableFamilyIPv4, number: unix.NFPROTO_IPV4, header: ipv4Header, protoAt: 9, etherType: etherIPv4,
		icmp: unix.IPPROTO_ICMP, icmpErrors: icmpErrors[:], ipip: true,
	}
}

// own is natlab's table of the family.
func (l layout) own() *nftables.Table { return &nftables.Table{Name: tableName, Family: l.table} }

// vxlanInner is where the packet in a VXLAN one starts.
func (l layout) vxlanInner() uint32 { return l.header + udpHeader + vxlanHeader + etherHeader }

// ownName is its name with the family, as nft(8) has it.
func (l layout) ownName() string { return nat.NFProtoName(l.number) + " " + tableName }

// proto matches the protocol behind the network header that starts at an offset.
func (l layout) proto(at uint32, proto byte) []expr.Any {
	return field(expr.PayloadBaseNetworkHeader, at+l.protoAt, expr.CmpOpEq, []byte{proto})
}

// tunnels match the packets of each tunnel that carries the family, with where the inner one starts; the first is of none.
func (l layout) tunnels() []tunnelled {
	out := []tunnelled{{}}
	if l.ipip {
		out = append(out, tunnelled{match: l.proto(0, unix.IPPROTO_IPIP), at: l.header})
	}
	vxlan := l.proto(0, unix.IPPROTO_UDP)
	vxlan = append(vxlan, field(expr.PayloadBaseTransportHeader, 2, expr.CmpOpEq, vxlanPorts)...)
	vxlan = append(vxlan, field(expr.PayloadBaseNetworkHeader, l.vxlanInner()-2, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, l.etherType))...)
	return append(out, tunnelled{match: vxlan, at: l.vxlanInner()})
}

// tunnelled is a match for a tunnel's packets.
type tunnelled struct {
	match []expr.Any
	at    uint32
}
