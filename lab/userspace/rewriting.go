package userspace

import (
	"encoding/binary"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// name is that of a kind's map: "dnat-tcp", "snat-udp", "keep".
func (k kind) name() string {
	name := "dnat-"
	if k.source {
		name = "snat-"
	}
	if k.proto == 0 {
		return "keep"
	}
	if name += strings.ToLower(k.proto.String()); k.partial {
		name += "-partial"
	}
	return name
}

// addMaps adds the maps of a family's translations, by their marks.
func (d *design) addMaps(c *nftables.Conn, t *nftables.Table, family nat.Family) error {
	address := nftables.TypeIPAddr
	if family == nat.IPv6 {
		address = nftables.TypeIP6Addr
	}
	for _, k := range kinds(family) {
		data := nftables.TypeMark
		if k.proto != 0 {
			var err error
			if data, err = nftables.ConcatSetType(address, nftables.TypeInetService, nftables.TypeMark); err != nil {
				return err
			}
		}
		s := &nftables.Set{Table: t, Name: k.name(), IsMap: true, KeyType: nftables.TypeMark, DataType: data}
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
		d.sets[k] = s
	}
	return nil
}

// The registers of 4 bytes that an element is read into, and the one of 16 bytes that has the mark (enum nft_registers).
const (
	valueRegister = unix.NFT_REG32_00
	markRegister  = unix.NFT_REG_4
	wordsRegister = 4
)

// addRewriting adds the chain right behind that of a hook that hands packets over. It is in priority the next one, so that nothing else sees the mark:
//
//	mark & 0xffff8000 != 0x4e600000 accept
//	ip daddr . tcp dport . mark set mark map @dnat-tcp, accept
//	ip daddr . udp dport . mark set mark map @dnat-udp, accept
//	mark set mark map @keep, accept
//	drop
//
// The last is for a mark whose element is not there.
func (d *design) addRewriting(c *nftables.Conn, t *nftables.Table, family nat.Family, hook nat.Hook) {
	chain := c.AddChain(&nftables.Chain{
		Name: strings.ToLower(hook.String()) + "-mark", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: new(nftables.ChainHook(hook)), Priority: new(priorities[hook] + 1),
	})
	add := func(e ...expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: e}) }
	load := &expr.Meta{Key: expr.MetaKeyMARK, Register: markRegister}
	mask, begin := binary.NativeEndian.AppendUint32(nil, markMask), binary.NativeEndian.AppendUint32(nil, markBegin)
	masked := &expr.Bitwise{SourceRegister: markRegister, DestRegister: markRegister, Len: wordsRegister, Mask: mask, Xor: make([]byte, wordsRegister)}
	add(load, masked, &expr.Cmp{Op: expr.CmpOpNeq, Register: markRegister, Data: begin}, &expr.Verdict{Kind: expr.VerdictAccept})
	for _, k := range kindsAt(family, hook) {
		s := d.sets[k]
		rule := []expr.Any{
			load, &expr.Lookup{SourceRegister: markRegister, DestRegister: valueRegister, IsDestRegSet: true, SetName: s.Name, SetID: s.ID},
		}
		mark := uint32(valueRegister)
		if k.proto != 0 {
			rule = append(rule, k.rewrite()...)
			mark += k.words() + 1
		}
		add(append(rule, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: mark}, &expr.Verdict{Kind: expr.VerdictAccept})...)
	}
	add(&expr.Verdict{Kind: expr.VerdictDrop})
}

// words is how many registers of 4 bytes an address takes.
func (k kind) words() uint32 {
	if k.family == nat.IPv6 {
		return net6 / wordsRegister
	}
	return net4 / wordsRegister
}

// rewrite has the packet's address and port be those of the registers, and its checksums right.
func (k kind) rewrite() []expr.Any {
	const sumTCP, sumUDP = 16, 6
	port, sum := uint32(0), uint32(sumTCP)
	if !k.source {
		port = 2
	}
	if k.proto == nat.UDP {
		sum = sumUDP
	}
	return append(k.rewriteAddress(sum), &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: valueRegister + k.words(), Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2,
		CsumType: expr.CsumTypeInet, CsumOffset: sum,
	})
}

// rewriteAddress replaces the address, of a packet whose transport header has its checksum at an offset. The library has no checksum flags for what has no
// checksum of its own, as IPv6's header. There the transport's, which is behind it, is the one that is brought up to date. Where that is
// the pseudo header's sum alone, and not its complement, the kernel would add what it has to subtract: it is told of the way back.
func (k kind) rewriteAddress(sum uint32) []expr.Any {
	const src4, src6, ipSum, oldRegister = 12, 8, 10, unix.NFT_REG32_08
	size := k.words() * wordsRegister
	e := expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: valueRegister, Base: expr.PayloadBaseNetworkHeader, Offset: src4, Len: size}
	if k.family == nat.IPv6 {
		e.Offset = src6
	}
	if !k.source {
		e.Offset += size
	}
	bare := e
	e.CsumType = expr.CsumTypeInet
	if k.family == nat.IPv4 {
		e.CsumOffset, e.CsumFlags = ipSum, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
		return []expr.Any{&e}
	}
	if e.CsumOffset = header6 + sum; !k.partial {
		return []expr.Any{&e}
	}
	e.SourceRegister = oldRegister
	load := &expr.Payload{DestRegister: oldRegister, Base: e.Base, Offset: e.Offset, Len: size}
	return []expr.Any{load, &bare, &e, &bare}
}
