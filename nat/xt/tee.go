package xt

import (
	"errors"
	"net/netip"

	"natlab/nat/rules"
)

// Tee is -j TEE: a copy of the packet goes to a neighbour, untracked, and the packet goes on (xt_TEE.c).
type Tee struct {
	Gateway netip.Addr
	Out     string // the device for the copy's route; "" for any
}

var teeRow = Extension{
	Name: "TEE", Kind: TargetKind,
	Options:  []Option{{Name: "--gateway", Values: 1}, {Name: "--oif", Values: 1}},
	Examples: []string{"--gateway 10.0.0.1", "--gateway 10.0.0.1 --oif eth0", "--gateway 2001:db8::1", "--gateway 2001:db8::1 --oif eth0"},
	Parse: func(a *Args) Value {
		var t Tee
		a.Once()
		a.Need("--gateway")
		for g := range a.Options {
			switch g.Name() {
			case "--gateway":
				if t.Gateway = g.Addr(); t.Gateway.IsUnspecified() {
					g.bad(0, "another address: the kernel refuses this one")
				}
			case "--oif":
				t.Out = g.Device()
			}
		}
		return t
	},
	// struct xt_tee_tginfo { union nf_inet_addr gw; char oif[16]; struct xt_tee_priv *priv; }
	Layouts: layouts(layout(1, 40,
		func(d []byte, e *Env) (Tee, bool) { return Tee{inetAddr(e.Family, d), cString(d[16:32])}, true },
		func(t Tee, d []byte, _ *Env) error {
			if !t.Gateway.IsValid() {
				return errors.New("TEE without an address")
			}
			copy(d, t.Gateway.AsSlice())
			return putString(d[16:32], t.Out)
		})),
	Listed: func(l *Listing) bool {
		if !l.Take("TEE gw:") {
			return false
		}
		l.Give("--gateway", false, l.Word())
		if l.Take("oif=") {
			l.Give("--oif", false, l.Word())
		}
		return true
	},
}

// Name is "TEE".
func (Tee) Name() string { return "TEE" }

// Save prints the neighbour and the device.
func (t Tee) Save(p *Printer) {
	p.Text(" --gateway ")
	p.Addr(t.Gateway)
	if t.Out != "" {
		p.Text(" --oif ", t.Out)
	}
}

// List prints the same as iptables -L -n does.
func (t Tee) List(p *Printer) {
	p.Text(" TEE gw:")
	p.Addr(t.Gateway)
	if t.Out != "" {
		p.Text(" oif=", t.Out)
	}
}

// Act sends the copy, and goes on.
func (t Tee) Act(v *rules.Visit) rules.Action {
	if w, ok := v.World.(rules.Duplicator); ok {
		w.Duplicate(v.Packet, v.Hook, rules.Copy{Via: t.Gateway, Out: t.Out})
	}
	return rules.Continue()
}
