package witness

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlab/lab/nfqueue"
	"natlab/nat"
)

// tableName is the one table of natlab's own in a namespace.
const tableName = "natlab"

// queueNumber is the queue that a tap's packets go to; a namespace's queues are its own.
func queueNumber(t nat.Tap) uint16 { return uint16(t) }

// The offsets at which a tap's rules look, from the start of the network header. They hold for headers without IP
// options, which no packet that the rules are to find has.
const (
	ipipInner   = ipv4Header
	vxlanInner  = ipv4Header + udpHeader + vxlanHeader + etherHeader
	protoOffset = 9
)

// loopback is the index of lo in every namespace (LOOPBACK_IFINDEX).
const loopback = 1

// TCP flags: SYN opens a connection, RST refuses it.
const (
	syn = 0x02
	rst = 0x04
)

// makeTable replaces `table ip natlab` in the namespace of this thread, a leftover of a run that crashed included. It is
// one transaction: all of it or nothing.
//
//	base chain of each tap      answers of the node itself --> jump TAP-copy; other first packets --> jump TAP-take; all --> jump TAP-later
//	TAP-take                    meta nftrace set 1 (where a packet enters), queue num N bypass
//	TAP-copy                    meta nftrace set 1 (where a packet enters), log group N, accept
//	TAP-later                   empty; while Later is on, all of TCP --> jump TAP-copy
//
// A TCP reset or ICMP error that the node makes hangs on the connection of the packet that it answers (nf_ct_attach). If
// that is not confirmed yet, as with everything that REJECT answers, NFQUEUE drops the answer (nf_ct_drop_unconfirmed).
// The taps that such a packet passes on its way out, and in again where that is by lo, take a copy of it instead, by NFLOG.
func makeTable(native bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	c.AddTable(t) // so that the delete finds one
	c.DelTable(t)
	c.AddTable(t)
	for _, tap := range nat.Taps() {
		take := c.AddChain(&nftables.Chain{Name: tap.String() + "-take", Table: t})
		c.AddRule(&nftables.Rule{Table: t, Chain: take, Exprs: append(tracing(tap), queueing(tap, native))})
		twin := c.AddChain(&nftables.Chain{Name: tap.String() + "-copy", Table: t})
		c.AddRule(&nftables.Rule{Table: t, Chain: twin, Exprs: append(tracing(tap), logging(tap), &expr.Verdict{Kind: expr.VerdictAccept})})
		base := c.AddChain(&nftables.Chain{
			Name:     tap.String(),
			Table:    t,
			Type:     nftables.ChainTypeFilter,
			Hooknum:  new(nftables.ChainHook(tap.Hook())),
			Priority: new(nftables.ChainPriority(tap.Priority())),
		})
		for _, match := range answers(tap) {
			c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: twin.Name})})
		}
		for _, match := range firstPackets() {
			c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: take.Name})})
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.AddChain(laterChain(t, tap)).Name}}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make table ip %s: %w", tableName, err)
	}
	return nil
}

// laterChain is empty but while Whole is on.
func laterChain(t *nftables.Table, tap nat.Tap) *nftables.Chain {
	return &nftables.Chain{Name: tap.String() + "-later", Table: t}
}

// watchLater makes the taps copy the later packets of TCP connections too, or no more.
func watchLater(on bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	for _, tap := range nat.Taps() {
		later := laterChain(t, tap)
		if !on {
			c.FlushChain(later)
			continue
		}
		for _, match := range laterPackets() {
			c.AddRule(&nftables.Rule{Table: t, Chain: later, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: tap.String() + "-copy"})})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("watch later packets by table ip %s: %w", tableName, err)
	}
	return nil
}

// emptyTable takes the rules out of the table: no packet comes to a queue any more, and none is dropped by it, as
// deleting a chain would drop those that wait.
func emptyTable() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.FlushTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("empty table ip %s: %w", tableName, err)
	}
	return nil
}

// removeTable deletes the table from the namespace of this thread; one that is not there is no error.
func removeTable() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	c.AddTable(t)
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete table ip %s: %w", tableName, err)
	}
	return nil
}

// logGroup is the NFLOG group that a tap's copies go to; group 0 is the legacy trace's.
func logGroup(t nat.Tap) uint16 { return 1 + uint16(t) }

// tracing starts the trace of a packet where it enters the namespace's hooks.
func tracing(tap nat.Tap) []expr.Any {
	if tap != nat.TapPreRaw && tap != nat.TapOutRaw {
		return nil
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
	}
}

// queueing hands a packet to its tap's queue.
func queueing(tap nat.Tap, native bool) expr.Any {
	return nfqueue.Feed{Number: queueNumber(tap), Bypass: true, Native: native}.Expr()
}

// logging sends a copy of a packet to its tap's log group.
func logging(tap nat.Tap) expr.Any {
	return &expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_QTHRESHOLD, Group: logGroup(tap), QThreshold: 1}
}

// firstPackets are the matches for the packets that a proof is about: those that open a connection or refuse it, all
// datagrams and ICMP, and the tunnel packets around such a one. The rest of a connection runs past the taps untouched.
func firstPackets() [][]expr.Any {
	rules := opening(nil, 0)
	rules[1] = append(rules[1], field(expr.PayloadBaseTransportHeader, 2, expr.CmpOpNeq, vxlanPorts)...) // UDP
	return slices.Concat(rules, opening(ipip(), ipipInner), opening(vxlan(), vxlanInner))
}

var vxlanPorts = binary.BigEndian.AppendUint16(nil, vxlanPort)

// ipip and vxlan match the packets of a tunnel.
func ipip() []expr.Any {
	return field(expr.PayloadBaseNetworkHeader, protoOffset, expr.CmpOpEq, []byte{unix.IPPROTO_IPIP})
}

func vxlan() []expr.Any {
	return slices.Concat(
		field(expr.PayloadBaseNetworkHeader, protoOffset, expr.CmpOpEq, []byte{unix.IPPROTO_UDP}),
		field(expr.PayloadBaseTransportHeader, 2, expr.CmpOpEq, vxlanPorts),
		field(expr.PayloadBaseNetworkHeader, vxlanInner-2, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, etherIPv4)))
}

// laterPackets are the matches for all of TCP, in tunnels too. They stand behind those for first packets, which take theirs.
func laterPackets() (out [][]expr.Any) {
	for _, in := range []struct {
		tunnel []expr.Any
		at     uint32
	}{{nil, 0}, {ipip(), ipipInner}, {vxlan(), vxlanInner}} {
		out = append(out, slices.Concat(in.tunnel, field(expr.PayloadBaseNetworkHeader, in.at+protoOffset, expr.CmpOpEq, []byte{unix.IPPROTO_TCP})))
	}
	return out
}

// answers are the packets with which a node may be answering for itself: TCP resets and ICMP errors that did not come
// from outside.
func answers(tap nat.Tap) [][]expr.Any {
	network, transport := expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	var here []expr.Any
	if tap.Hook() == nat.PreRouting {
		here = []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, loopback)},
		}
	}
	out := [][]expr.Any{slices.Concat(here,
		field(network, protoOffset, expr.CmpOpEq, []byte{unix.IPPROTO_TCP}),
		flagged(network, ipv4Header+tcpFlagsAt, rst))}
	for _, kind := range icmpErrors {
		out = append(out, slices.Concat(here,
			field(network, protoOffset, expr.CmpOpEq, []byte{unix.IPPROTO_ICMP}),
			field(transport, 0, expr.CmpOpEq, []byte{kind})))
	}
	return out
}

// opening matches the three kinds of first packet whose IP header starts at an offset from the network header.
func opening(outer []expr.Any, at uint32) [][]expr.Any {
	of := func(proto byte) []expr.Any {
		return slices.Concat(outer, field(expr.PayloadBaseNetworkHeader, at+protoOffset, expr.CmpOpEq, []byte{proto}))
	}
	return [][]expr.Any{
		slices.Concat(of(unix.IPPROTO_TCP), flagged(expr.PayloadBaseNetworkHeader, at+ipv4Header+tcpFlagsAt, syn|rst)),
		of(unix.IPPROTO_UDP),
		of(unix.IPPROTO_ICMP),
	}
}

// flagged matches a byte that has one of the bits.
func flagged(base expr.PayloadBase, offset uint32, bits byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{bits}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}},
	}
}

// field compares bytes of the packet with data.
func field(base expr.PayloadBase, offset uint32, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(data))},
		&expr.Cmp{Op: op, Register: 1, Data: data},
	}
}
