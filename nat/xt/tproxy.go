package xt

import (
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/nat/rules"
)

// TProxy is -j TPROXY: a transparent socket of the node gets the packet as it is. Where there is none the packet is dropped
// (xt_TPROXY.c).
type TProxy struct {
	Addr        netip.Addr // the unspecified one: an address of the device that the packet came in by
	Port        uint16     // 0: the packet's
	Value, Mask uint32     // what becomes of the mark
}

var tproxyRow = Extension{
	Name: "TPROXY", Kind: TargetKind, Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP, nat.UDP}, Tables: []string{"mangle"}, Hooks: HooksOf(nat.PreRouting),
	Options: []Option{{Name: "--on-port", Values: 1}, {Name: "--on-ip", Values: 1}, {Name: "--tproxy-mark", Values: 1}},
	Examples: []string{
		"--on-port 15001 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1", "--on-port 0 --on-ip 127.0.0.1 --tproxy-mark 0x0/0x0",
		"--on-port 65535 --on-ip :: --tproxy-mark 0x200/0xffffffff", "--on-port 1 --on-ip 2001:db8::1 --tproxy-mark 0x23/0xff",
	},
	Parse: parseTProxy,
	Layouts: layouts(
		// struct xt_tproxy_target_info_v1 { __u32 mark_mask, mark_value; union nf_inet_addr laddr; __be16 lport; }
		tproxyLayout(1, 16),
		// struct xt_tproxy_target_info { __u32 mark_mask, mark_value; __be32 laddr; __be16 lport; }
		tproxyLayout(0, 4).only(IPv4Only),
	),
	Listed:    listedTProxy,
	Undecided: "natlab does not know the node's sockets",
}

func parseTProxy(a *Args) Value {
	t := TProxy{Addr: inetAddr(a.Family, make([]byte, 16))}
	a.Once()
	a.Need("--on-port")
	for g := range a.Options {
		switch g.Name() {
		case "--on-port":
			t.Port = uint16(g.Uint(16))
		case "--on-ip":
			t.Addr = g.Addr()
		case "--tproxy-mark":
			t.Value, t.Mask = g.Masked()
		}
	}
	return t
}

func tproxyLayout(revision uint8, room int) Layout {
	const at = 8 // of the address
	return layout(revision, at+room+2,
		func(d []byte, e *Env) (TProxy, bool) {
			return TProxy{inetAddr(e.Family, d[at:]), be16(d[at+room:]), order.Uint32(d[4:]), order.Uint32(d)}, true
		},
		func(t TProxy, d []byte, _ *Env) error {
			order.PutUint32(d, t.Mask)
			order.PutUint32(d[4:], t.Value)
			copy(d[at:], t.Addr.AsSlice())
			d[at+room], d[at+room+1] = byte(t.Port>>8), byte(t.Port)
			return nil
		})
}

// Name is "TPROXY".
func (TProxy) Name() string { return "TPROXY" }

// Save prints port, address and mark, whether they were given or not.
func (t TProxy) Save(p *Printer) {
	p.Number("--on-port", uint64(t.Port))
	p.Text(" --on-ip ")
	p.Addr(t.Addr)
	p.Textf(" --tproxy-mark 0x%x/0x%x", t.Value, t.Mask)
}

// List prints the same as iptables -L does.
func (t TProxy) List(p *Printer) {
	p.Text(" TPROXY redirect ")
	p.Addr(t.Addr)
	p.Textf(":%d mark 0x%x/0x%x", t.Port, t.Value, t.Mask)
}

func listedTProxy(l *Listing) bool {
	if !l.Take("TPROXY redirect ") {
		return false
	}
	addr, port, ok := cutLast(l.Word(), ':')
	if !ok || !l.TakeWord("mark") {
		return false
	}
	l.Give("--on-port", false, port)
	l.Give("--on-ip", false, addr)
	l.Give("--tproxy-mark", false, l.Word())
	return true
}

// Act is open: whether a socket takes the packet is not known. Where none does nobody sees the mark any more.
func (t TProxy) Act(v *rules.Visit) rules.Action {
	v.Mark = v.Mark&^t.Mask ^ t.Value
	return rules.Action{Verdict: nat.Accept, Else: nat.Drop, Open: fmt.Sprintf("-j TPROXY %s: a transparent socket takes the packet", Options(t, nat.IPv4))}
}
