package nftnl

import (
	"encoding/binary"
	"slices"

	"natlab/nat/nftables"
)

// datatype is how a register and a set's element have values of a type.
type datatype struct {
	id    uint32 // nft's, in what it tells of a set's types (enum datatypes)
	bytes int
	host  bool // numbers are as the machine has them, not as headers have them
}

var datatypes = map[nftables.Type]datatype{
	nftables.NFProto:     {2, 1, false},
	nftables.Integer:     {4, 4, true},
	nftables.IPv4Addr:    {7, 4, false},
	nftables.IPv6Addr:    {8, 16, false},
	nftables.EtherAddr:   {9, 6, false},
	nftables.EtherType:   {10, 2, false},
	nftables.InetProto:   {12, 1, false},
	nftables.InetService: {13, 2, false},
	nftables.ICMPType:    {14, 1, false},
	nftables.TCPFlag:     {15, 1, false},
	nftables.MarkType:    {19, 4, true},
	nftables.IfIndex:     {20, 4, true},
	nftables.ClassID:     {23, 4, true},
	nftables.UID:         {24, 4, true},
	nftables.GID:         {25, 4, true},
	nftables.CTState:     {26, 4, true},
	nftables.CTDir:       {27, 1, false},
	nftables.CTStatus:    {28, 4, true},
	nftables.ICMPv6Type:  {29, 1, false},
	nftables.PktType:     {31, 1, false},
	nftables.ICMPCode:    {32, 1, false},
	nftables.ICMPv6Code:  {33, 1, false},
	nftables.DevGroup:    {35, 4, true},
	nftables.FibAddrType: {38, 4, true},
	nftables.IfName:      {41, 16, false},
}

// typeBits is how many bits a part's type has in a concatenation's (TYPE_BITS).
const typeBits = 6

// typeID is what nft calls a concatenation of types; false where one is not known here.
func typeID(types []nftables.Type) (id uint32, ok bool) {
	for _, t := range types {
		d, known := datatypes[t]
		if !known {
			return 0, false
		}
		id = id<<typeBits | d.id
	}
	return id, len(types) > 0 && len(types) <= 5
}

// typesOfID is the reverse of typeID.
func typesOfID(id uint32) (out []nftables.Type, ok bool) {
	for ; id != 0; id >>= typeBits {
		one, known := typeOfID(id & (1<<typeBits - 1))
		if !known {
			return nil, false
		}
		out = append(out, one)
	}
	slices.Reverse(out)
	return out, len(out) > 0
}

func typeOfID(id uint32) (nftables.Type, bool) {
	for t, d := range datatypes {
		if d.id == id {
			return t, true
		}
	}
	return "", false
}

// padded is a length in whole registers of 32 bits.
func padded(n int) int { return (n + 3) &^ 3 }

// bytesOf is a number in so many bytes, as the machine has it or as headers have it.
func bytesOf(n nftables.Number, size int, host bool) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.High), n.Low)[16-size:]
	if host && littleEndian {
		slices.Reverse(b)
	}
	return b
}

// numberOf is the reverse of bytesOf.
func numberOf(b []byte, host bool) (n nftables.Number) {
	b = b[:min(len(b), 16)]
	for i := range b {
		c := b[i]
		if host && littleEndian {
			c = b[len(b)-1-i]
		}
		n.High, n.Low = n.High<<8|n.Low>>56, n.Low<<8|uint64(c)
	}
	return n
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
