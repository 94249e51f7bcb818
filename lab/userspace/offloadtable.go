package userspace

import (
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// addWays adds the maps of a family's offloaded flows. Those at PREROUTING count for each element what it was found for.
func (d *design) addWays(c *nftables.Conn, t *nftables.Table, family nat.Family) error {
	address := nftables.TypeIPAddr
	if family == nat.IPv6 {
		address = nftables.TypeIP6Addr
	}
	ports, device := nftables.TypeMark, nftables.TypeIFIndex // both ports are one word, which has no type of its own
	came, err := nftables.ConcatSetType(device, address, address, ports)
	if err != nil {
		return err
	}
	routed, err := nftables.ConcatSetType(device, device, address, address, ports)
	if err != nil {
		return err
	}
	to, err := nftables.ConcatSetType(address, nftables.TypeInetService)
	if err != nil {
		return err
	}
	for _, l := range lanes {
		if l.family != family {
			continue
		}
		proto := strings.ToLower(l.proto.String())
		d.came[l] = &nftables.Set{Table: t, Name: "flow-" + proto, IsMap: true, Concatenation: true, KeyType: came, DataType: to, Counter: true}
		d.routed[l] = &nftables.Set{Table: t, Name: "routed-" + proto, IsMap: true, Concatenation: true, KeyType: routed, DataType: to}
		for _, s := range []*nftables.Set{d.came[l], d.routed[l]} {
			if err := c.AddSet(s, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// waysAt reports whether packets of offloaded flows pass a hook.
func waysAt(hook nat.Hook) bool {
	return hook == nat.PreRouting || hook == nat.Forward || hook == nat.PostRouting
}

// addWayRules adds to a hook's chain, in front of where it hands packets over, for each protocol:
//
//	meta mark 0 meta l4proto tcp tcp flags & (fin|syn|rst|ack) == ack ip frag-off & 0x3fff == 0 \
//	    ip daddr . tcp dport set iif . ip saddr . ip daddr . tcp ports map @flow-tcp accept
//
// and at FORWARD and POSTROUTING by @routed-tcp, where the source is set at POSTROUTING alone.
func (d *design) addWayRules(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, family nat.Family, hook nat.Hook) {
	for _, l := range lanes {
		if l.family != family {
			continue
		}
		set := d.routed[l]
		if hook == nat.PreRouting {
			set = d.came[l]
		}
		rule := append(l.plain(), l.key(hook)...)
		rule = append(rule, &expr.Lookup{SourceRegister: valueRegister, DestRegister: valueRegister, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
		if hook != nat.Forward {
			k := kind{family: l.family, proto: l.proto, source: hook == nat.PostRouting}
			rule = append(rule, k.rewriteWay()...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(rule, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
}

// plain asks whether a packet is one that may be looked up: it has no mark, is no fragment, and is one of TCP that neither begins nor ends anything, or one of UDP with a
// checksum, which is kept right.
func (l lane) plain() []expr.Any {
	const one, flags, checked, ack, sumUDP, flagsTCP = 1, 2, 0x17, 0x10, 6, 13
	rule := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: one}, &expr.Cmp{Op: expr.CmpOpEq, Register: one, Data: []byte{byte(l.proto)}},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: one}, &expr.Cmp{Op: expr.CmpOpEq, Register: one, Data: make([]byte, wordsRegister)},
	}
	if l.family == nat.IPv4 {
		const fragment = 6
		rule = append(rule,
			&expr.Payload{DestRegister: one, Base: expr.PayloadBaseNetworkHeader, Offset: fragment, Len: flags},
			&expr.Bitwise{SourceRegister: one, DestRegister: one, Len: flags, Mask: []byte{0x3f, 0xff}, Xor: make([]byte, flags)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: one, Data: make([]byte, flags)})
	}
	if l.proto == nat.UDP {
		return append(rule,
			&expr.Payload{DestRegister: one, Base: expr.PayloadBaseTransportHeader, Offset: sumUDP, Len: flags},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: one, Data: make([]byte, flags)})
	}
	return append(rule,
		&expr.Payload{DestRegister: one, Base: expr.PayloadBaseTransportHeader, Offset: flagsTCP, Len: one},
		&expr.Bitwise{SourceRegister: one, DestRegister: one, Len: one, Mask: []byte{checked}, Xor: make([]byte, one)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: one, Data: []byte{ack}})
}

// key reads what way.cameKey and way.routedKey have.
func (l lane) key(hook nat.Hook) []expr.Any {
	const src4, src6 = 12, 8
	at := uint32(valueRegister)
	out := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIF, Register: at}}
	at++
	if hook != nat.PreRouting {
		out = append(out, &expr.Meta{Key: expr.MetaKeyOIF, Register: at})
		at++
	}
	addresses := &expr.Payload{DestRegister: at, Base: expr.PayloadBaseNetworkHeader, Offset: src4, Len: 2 * net4}
	if l.family == nat.IPv6 {
		addresses.Offset, addresses.Len = src6, 2*net6
	}
	at += addresses.Len / wordsRegister
	return append(out, addresses, &expr.Payload{DestRegister: at, Base: expr.PayloadBaseTransportHeader, Len: wordsRegister})
}

// rewriteWay does as rewrite, of packets of which nobody has told whether their checksum is that of the pseudo header alone.
func (k kind) rewriteWay() []expr.Any {
	if k.family == nat.IPv4 {
		return k.rewrite()
	}
	all := k.rewrite()
	return append(k.rewriteEither(), all[len(all)-1])
}

// rewriteEither replaces an address of IPv6. The kernel keeps either checksum right by NFT_PAYLOAD_L4CSUM_PSEUDOHDR, which the library asks for only together with a
// checksum in the header that is written. IPv6's has none: the length of the payload stands in for it, and the way back and forth again, without the
// flag, makes that what it was. It is neither 0 nor 0xffff, which alone would not come back.
func (k kind) rewriteEither() []expr.Any {
	const src6, length, oldRegister = 8, 4, unix.NFT_REG32_08
	e := expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: valueRegister, Base: expr.PayloadBaseNetworkHeader, Offset: src6, Len: net6,
	}
	if !k.source {
		e.Offset += net6
	}
	load := &expr.Payload{DestRegister: oldRegister, Base: e.Base, Offset: e.Offset, Len: e.Len}
	there, back, bare := e, e, e
	there.CsumType, there.CsumOffset, there.CsumFlags = expr.CsumTypeInet, length, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
	back.CsumType, back.CsumOffset, back.SourceRegister = expr.CsumTypeInet, length, oldRegister
	return []expr.Any{load, &there, &back, &bare}
}
