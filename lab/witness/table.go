package witness

import (
	"encoding/binary"
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

// loopback is the index of lo in every namespace (LOOPBACK_IFINDEX).
const loopback = 1

// TCP flags: SYN opens a connection, RST refuses it.
const (
	syn = 0x02
	rst = 0x04
	ack = 0x10
)

// makeTable replaces `table ip natlab`, or `table ip6 natlab`, a leftover of a run that crashed included.
//
//	base chain of each tap      TCP that neither opens nor refuses --> goto TAP-later; answers of the node itself --> jump TAP-copy; other first packets --> jump TAP-take; all --> jump TAP-later
//	TAP-take                    meta nftrace set 1 (where a packet enters), queue num N bypass; see feed
//	TAP-copy                    meta nftrace set 1 (where a packet enters), log group N, accept
//	TAP-later                   empty; while Later is on, all of TCP --> jump TAP-copy
//
// A TCP reset or ICMP error that the node makes hangs on the connection of the packet that it answers (nf_ct_attach). If
// that is not confirmed yet, as with everything that REJECT answers, NFQUEUE drops the answer (nf_ct_drop_unconfirmed).
// The taps that such a packet passes on its way out, and in again where that is by lo, take a copy of it instead, by NFLOG.
func makeTable(c *nftables.Conn, l layout, take feed) error {
	t := l.own()
	c.AddTable(t) // so that the delete finds one
	c.DelTable(t)
	c.AddTable(t)
	for _, tap := range nat.Taps() {
		taken := c.AddChain(&nftables.Chain{Name: tap.String() + "-take", Table: t})
		if err := take(c, taken, tap); err != nil {
			return err
		}
		twin := c.AddChain(&nftables.Chain{Name: tap.String() + "-copy", Table: t})
		c.AddRule(&nftables.Rule{Table: t, Chain: twin, Exprs: append(tracing(tap), logging(tap), &expr.Verdict{Kind: expr.VerdictAccept})})
		base := c.AddChain(&nftables.Chain{
			Name:     tap.String(),
			Table:    t,
			Type:     nftables.ChainTypeFilter,
			Hooknum:  new(nftables.ChainHook(tap.Hook())),
			Priority: new(nftables.ChainPriority(tap.Priority())),
		})
		later := c.AddChain(laterChain(t, tap))
		for _, match := range l.laterPackets() { // most packets: no other rule is for them
			c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictGoto, Chain: later.Name})})
		}
		for _, match := range l.answers(tap) {
			c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: twin.Name})})
		}
		for _, match := range l.firstPackets() {
			c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: taken.Name})})
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: base, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: later.Name}}})
	}
	return nil
}

// laterChain is empty but while Whole is on.
func laterChain(t *nftables.Table, tap nat.Tap) *nftables.Chain {
	return &nftables.Chain{Name: tap.String() + "-later", Table: t}
}

// watchLater makes the taps copy the later packets of TCP connections too.
func watchLater(c *nftables.Conn, l layout) {
	t := l.own()
	for _, tap := range nat.Taps() {
		for _, match := range l.allTCP() {
			c.AddRule(&nftables.Rule{Table: t, Chain: laterChain(t, tap), Exprs: append(match, &expr.Verdict{Kind: expr.VerdictJump, Chain: tap.String() + "-copy"})})
		}
	}
}

// passLater undoes watchLater.
func passLater(c *nftables.Conn, l layout) {
	for _, tap := range nat.Taps() {
		c.FlushChain(laterChain(l.own(), tap))
	}
}

// removeTable deletes natlab's table; one that is not there is no error.
func removeTable(c *nftables.Conn, t *nftables.Table) {
	c.AddTable(t)
	c.DelTable(t)
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

// feed writes the rules of a tap's chain that takes packets.
type feed func(c *nftables.Conn, chain *nftables.Chain, tap nat.Tap) error

// queueing hands each packet to its tap's queue.
func queueing(native bool) feed {
	return func(c *nftables.Conn, chain *nftables.Chain, tap nat.Tap) error {
		queue := nfqueue.Feed{Number: queueNumber(tap), Bypass: true, Native: native}.Expr()
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: append(tracing(tap), queue)})
		return nil
	}
}

// logging sends a copy of a packet to its tap's log group.
func logging(tap nat.Tap) expr.Any {
	return &expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_QTHRESHOLD, Group: logGroup(tap), QThreshold: 1}
}

// firstPackets are the matches for the packets that a proof is about: those that open a connection or refuse it, all
// datagrams and ICMP of hosts, and the tunnel packets around such a one. The rest of a connection runs past the taps untouched.
func (l layout) firstPackets() (out [][]expr.Any) {
	for _, in := range l.tunnels() {
		rules := l.opening(in)
		if in.match == nil {
			rules[1] = append(rules[1], field(expr.PayloadBaseTransportHeader, 2, expr.CmpOpNeq, vxlanPorts)...) // UDP
		}
		out = append(out, rules...)
	}
	return out
}

var vxlanPorts = binary.BigEndian.AppendUint16(nil, vxlanPort)

// laterPackets are the matches for the packets of TCP, in tunnels too, that neither open a connection nor refuse one.
func (l layout) laterPackets() (out [][]expr.Any) {
	for _, in := range l.tunnels() {
		out = append(out, slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_TCP), unflagged(expr.PayloadBaseNetworkHeader, in.at+l.header+tcpFlagsAt, syn|rst)))
	}
	return out
}

// allTCP are the matches for all of TCP, in tunnels too. They stand behind those for first packets, which take theirs.
func (l layout) allTCP() (out [][]expr.Any) {
	for _, in := range l.tunnels() {
		out = append(out, slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_TCP)))
	}
	return out
}

// answers are the packets with which a node may be answering for itself: TCP resets and ICMP errors that did not come
// from outside.
func (l layout) answers(tap nat.Tap) [][]expr.Any {
	var here []expr.Any
	if tap.Hook() == nat.PreRouting {
		here = []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, loopback)},
		}
	}
	out := [][]expr.Any{slices.Concat(here, l.proto(0, unix.IPPROTO_TCP), flagged(expr.PayloadBaseNetworkHeader, l.header+tcpFlagsAt, rst))}
	for _, kind := range l.icmpErrors {
		out = append(out, slices.Concat(here, l.proto(0, l.icmp), field(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, []byte{kind})))
	}
	return out
}

// opening matches the kinds of first packet, in a tunnel or in none: TCP, UDP, ICMP, SCTP, and of IPv6 fragments of UDP, whose header names
// their protocol behind it. A namespace that tracks no connections joins none.
func (l layout) opening(in tunnelled) [][]expr.Any {
	icmp := slices.Concat(in.match, l.proto(in.at, l.icmp))
	if l.queries != 0 {
		icmp = append(icmp, field(expr.PayloadBaseNetworkHeader, in.at+l.header, expr.CmpOpLt, []byte{l.queries})...)
	}
	out := [][]expr.Any{
		slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_TCP), flagged(expr.PayloadBaseNetworkHeader, in.at+l.header+tcpFlagsAt, syn|rst)),
		slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_UDP)),
		icmp,
	}
	chunk := func(op expr.CmpOp, kind byte) []expr.Any {
		return field(expr.PayloadBaseNetworkHeader, in.at+l.header+chunkAt, op, []byte{kind})
	}
	sctp := slices.Concat(in.match, l.proto(in.at, unix.IPPROTO_SCTP))
	out = append(out, slices.Concat(sctp, chunk(expr.CmpOpGte, chunkInit), chunk(expr.CmpOpLte, chunkInitAck)), slices.Concat(sctp, chunk(expr.CmpOpEq, chunkAbort)))
	if l.fragment {
		out = append(out, slices.Concat(in.match, l.proto(in.at, fragment), field(expr.PayloadBaseNetworkHeader, in.at+l.header, expr.CmpOpEq, []byte{unix.IPPROTO_UDP})))
	}
	return out
}

// flagged matches a byte that has one of the bits, unflagged one that has none.
func flagged(base expr.PayloadBase, offset uint32, bits byte) []expr.Any {
	return masked(base, offset, bits, expr.CmpOpNeq)
}

func unflagged(base expr.PayloadBase, offset uint32, bits byte) []expr.Any {
	return masked(base, offset, bits, expr.CmpOpEq)
}

// masked compares the bits of a byte with none.
func masked(base expr.PayloadBase, offset uint32, bits byte, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{bits}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{0}},
	}
}

// field compares bytes of the packet with data.
func field(base expr.PayloadBase, offset uint32, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(data))},
		&expr.Cmp{Op: op, Register: 1, Data: data},
	}
}
