package xtables

import (
	"net/netip"

	"natlab/nat"
)

// Blob is a table as the kernel hands it out: IPT_SO_GET_INFO tells where the built-in chains begin and end,
// IPT_SO_GET_ENTRIES gives the bytes. The same fields make the struct ipt_replace of IPT_SO_SET_REPLACE.
type Blob struct {
	Family    nat.Family
	Name      string    // "nat"
	Valid     uint32    // bit h is set where the table hooks into nat.Hook h
	Entry     [5]uint32 // by hook: offset of the chain's first entry; meaningless without the bit in Valid
	Underflow [5]uint32 // by hook: offset of the entry that is the chain's policy
	Count     uint32    // number of entries in Bytes
	Bytes     []byte    // the entries
}

// Table is a table taken apart, losing nothing: Encode gives back the Blob it came from.
type Table struct {
	Family nat.Family
	Name   string
	Chains []Chain // in the order of the blob: the built-in ones by hook, then the user's
}

// Chain is one chain of a Table.
type Chain struct {
	Name    string
	Hook    nat.Hook // of a built-in chain
	BuiltIn bool
	Entries []Entry // its rules
	Tail    Entry   // the policy of a built-in chain, the closing RETURN of another
}

// Entry is one rule.
type Entry struct {
	Header         Header
	NFCache        uint32 // unused since Linux 2.6; kept
	Comefrom       uint32 // the hooks from which the kernel found the rule reachable, as bits; ignored when it is written
	Packets, Bytes uint64
	Matches        []Extension
	Target         Extension // for a standard target (Name "") Data is the verdict, or zero where Jump or FallThrough is set
	Jump           string    // the chain called by a standard target; "" otherwise. Goto is a flag of the Header.
	FallThrough    bool      // a rule without -j: a standard target that leads to the next entry
}

// Extension is a match or a target as the kernel stores it.
type Extension struct {
	Name     string
	Revision uint8
	Data     []byte // the payload with its padding
}

// Header is struct ipt_ip or ip6t_ip: what a rule asks of the packet without any extension.
type Header struct {
	Src, Dst         netip.Addr // of the table's family
	SrcMask, DstMask netip.Addr
	In, Out          [16]byte // device names, filled up with zeros
	InMask, OutMask  [16]byte // 0xff where the name counts
	Proto            uint16   // 0 is any; IPv6 rules need FlagProto as well
	TOS              uint8    // IPv6 only
	Flags, Inv       uint8
}

// Bits of Header.Flags.
const (
	FlagFragment = 0x01 // IPT_F_FRAG, IPv4: the second and later fragments
	FlagProto    = 0x01 // IP6T_F_PROTO, IPv6: Proto counts
	FlagGotoIPv4 = 0x02 // IPT_F_GOTO
	FlagGotoIPv6 = 0x04 // IP6T_F_GOTO
)

// Bits of Header.Inv.
const (
	InvIn       = 0x01 // IPT_INV_VIA_IN
	InvOut      = 0x02 // IPT_INV_VIA_OUT
	InvSrc      = 0x08 // IPT_INV_SRCIP
	InvDst      = 0x10 // IPT_INV_DSTIP
	InvFragment = 0x20 // IPT_INV_FRAG
	InvProto    = 0x40 // IPT_INV_PROTO
)

// Verdicts of a standard target, as they are stored: -verdict - 1, and -NF_REPEAT - 1 for RETURN.
const (
	VerdictDrop   int32 = -1 // -NF_DROP - 1
	VerdictAccept int32 = -2 // -NF_ACCEPT - 1
	VerdictQueue  int32 = -4 // -NF_QUEUE - 1
	VerdictReturn int32 = -5 // XT_RETURN
)

// Names of the two targets that x_tables itself brings.
const (
	standardTarget = ""      // XT_STANDARD_TARGET
	errorTarget    = "ERROR" // XT_ERROR_TARGET
)

// layout is what differs between struct ipt_entry and struct ip6t_entry.
type layout struct {
	addr         int   // bytes in an address
	proto        int   // offset of ip.proto
	nfcache      int   // offset of nfcache; target_offset, next_offset and comefrom follow
	counters     int   // offset of counters
	size         int   // of the header
	gotoFlag     uint8 //
	hasTOS       bool  // a tos byte stands between proto and flags
	maxFlag      uint8 // IPT_F_MASK
	addrFromByte func([]byte) netip.Addr
}

func layoutOf(f nat.Family) layout {
	if f == nat.IPv6 {
		return layout{
			addr: 16, proto: 128, nfcache: 136, counters: 152, size: 168, gotoFlag: FlagGotoIPv6, hasTOS: true, maxFlag: 0x07,
			addrFromByte: func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) },
		}
	}
	return layout{
		addr: 4, proto: 80, nfcache: 84, counters: 96, size: 112, gotoFlag: FlagGotoIPv4, maxFlag: 0x03,
		addrFromByte: func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) },
	}
}

// Goto reports whether the rule's jump is a goto (-g).
func (h Header) Goto(f nat.Family) bool { return h.Flags&layoutOf(f).gotoFlag != 0 }

// anyHeader is the header of a rule that asks nothing.
func anyHeader(f nat.Family) Header {
	zero := layoutOf(f).addrFromByte(make([]byte, 16)[:layoutOf(f).addr])
	return Header{Src: zero, Dst: zero, SrcMask: zero, DstMask: zero}
}
