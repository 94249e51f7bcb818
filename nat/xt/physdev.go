package xt

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// PhysDev is -m physdev: the ports of a bridge that the packet came in by and will leave by (xt_physdev.c). A packet that
// no bridge hands to the IP tables has none, and then only what is inverted holds.
type PhysDev struct {
	In, Out              *PhysPort // nil: not asked for
	IsIn, IsOut, Bridged Wanted
}

// PhysPort is a port that is asked for. A Device that ends in "+" stands for all that begin so.
type PhysPort struct {
	Not    bool
	Device string
}

// Wanted is whether a fact is asked for.
type Wanted uint8

// What can be wanted.
const (
	NotWanted Wanted = iota // not asked for
	WantedYes               //
	WantedNo                // inverted
)

func wanted(not bool) Wanted {
	if not {
		return WantedNo
	}
	return WantedYes
}

var physdevRow = Extension{
	Name: "physdev",
	Options: []Option{
		{Name: "--physdev-in", Values: 1, Not: true},
		{Name: "--physdev-out", Values: 1, Not: true},
		{Name: "--physdev-is-in", Not: true},
		{Name: "--physdev-is-out", Not: true},
		{Name: "--physdev-is-bridged", Not: true},
	},
	Examples: []string{
		"--physdev-in veth0", "! --physdev-in veth+", "--physdev-is-in ! --physdev-in eth0 --physdev-is-bridged",
		"! --physdev-is-in ! --physdev-is-out ! --physdev-is-bridged", "--physdev-is-out --physdev-out tap+ --physdev-is-bridged",
		"! --physdev-out eth0 --physdev-is-bridged",
	},
	Parse: parsePhysDev,
	// struct xt_physdev_info { char physindev[16], in_mask[16], physoutdev[16], out_mask[16]; __u8 invert, bitmask; }
	Layouts: layouts(layout(0, 66, decodePhysDev, encodePhysDev)),
	Listed:  func(l *Listing) bool { return l.Take("PHYSDEV match") && l.Options("--") },
}

func parsePhysDev(a *Args) Value {
	var m PhysDev
	a.Once()
	a.Need("--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged")
	for g := range a.Options {
		switch g.Name() {
		case "--physdev-in":
			m.In = &PhysPort{g.Not, g.Device()}
		case "--physdev-out":
			m.Out = &PhysPort{g.Not, g.Device()}
		case "--physdev-is-in":
			m.IsIn = wanted(g.Not)
		case "--physdev-is-out":
			m.IsOut = wanted(g.Not)
		case "--physdev-is-bridged":
			m.Bridged = wanted(g.Not)
		}
	}
	return m
}

// Bits of xt_physdev_info.bitmask and invert: XT_PHYSDEV_OP_*.
const (
	physIn = 1 << iota
	physOut
	physBridged
	physIsIn
	physIsOut
)

func decodePhysDev(d []byte, _ *Env) (PhysDev, bool) {
	inv, asked := d[64], d[65]
	ok := inv&^asked == 0 && asked < physIsOut<<1
	port := func(at int, bit byte) *PhysPort {
		if asked&bit == 0 {
			return nil
		}
		device, good := deviceOf(d[at:at+16], d[at+16:at+32])
		ok = ok && good
		return &PhysPort{inv&bit != 0, device}
	}
	is := func(bit byte) Wanted {
		if asked&bit == 0 {
			return NotWanted
		}
		return wanted(inv&bit != 0)
	}
	m := PhysDev{In: port(0, physIn), Out: port(32, physOut), IsIn: is(physIsIn), IsOut: is(physIsOut), Bridged: is(physBridged)}
	return m, ok
}

func encodePhysDev(m PhysDev, d []byte, _ *Env) error {
	put := func(on, not bool, bit byte) {
		d[65] |= flagByte(on) * bit
		d[64] |= flagByte(on && not) * bit
	}
	put(m.IsIn != NotWanted, m.IsIn == WantedNo, physIsIn)
	put(m.IsOut != NotWanted, m.IsOut == WantedNo, physIsOut)
	put(m.Bridged != NotWanted, m.Bridged == WantedNo, physBridged)
	if m.In != nil {
		put(true, m.In.Not, physIn)
		putDevice(m.In.Device, d[:16], d[16:32])
	}
	if m.Out != nil {
		put(true, m.Out.Not, physOut)
		putDevice(m.Out.Device, d[32:48], d[48:64])
	}
	return nil
}

// Hooks are all but OUTPUT for who asks for the port out, where bridges are not known yet (physdev_mt_check).
func (m PhysDev) Hooks() (h Hooks) {
	if (m.Out != nil || m.IsOut != NotWanted) && m.Bridged != WantedYes {
		return HooksOf(nat.Hooks()...) &^ HooksOf(nat.Output)
	}
	return h
}

// Name is "physdev".
func (PhysDev) Name() string { return "physdev" }

// Save prints the facts and the ports, each fact in front of its port.
func (m PhysDev) Save(p *Printer) {
	is := func(w Wanted, option string) {
		if w != NotWanted {
			p.Not(w == WantedNo)
			p.Flag(true, option)
		}
	}
	port := func(port *PhysPort, option string) {
		if port != nil {
			p.Option(port.Not, option, port.Device)
		}
	}
	is(m.IsIn, "--physdev-is-in")
	port(m.In, "--physdev-in")
	is(m.IsOut, "--physdev-is-out")
	port(m.Out, "--physdev-out")
	is(m.Bridged, "--physdev-is-bridged")
}

// List prints the options behind the words "PHYSDEV match".
func (m PhysDev) List(p *Printer) {
	p.Text(" PHYSDEV match")
	m.Save(p)
}

// Holds asks the World for the packet's ports.
func (m PhysDev) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Bridger)
	if !ok {
		return rules.Unknown
	}
	ports, known := w.BridgePorts(v.Packet)
	if !known {
		return rules.Unknown
	}
	carried := ports.In != "" || ports.Out != ""
	is := func(wanted Wanted, fact bool) bool { return wanted == NotWanted || fact == (wanted == WantedYes) }
	// What a bridge carries without an in port is not asked for one; without an out port it matches none.
	in := m.In == nil || ports.In == "" && (carried || m.In.Not) || ports.In != "" && m.In.is(ports.In)
	out := m.Out == nil || ports.Out == "" && !carried && m.Out.Not || ports.Out != "" && m.Out.is(ports.Out)
	return rules.Is(in && out && is(m.IsIn, ports.In != "") && is(m.IsOut, ports.Out != "") && is(m.Bridged, ports.Out != ""), false)
}

func (p *PhysPort) is(port string) bool { return deviceMatches(p.Device, port) != p.Not }

// Actual are the packet's ports.
func (PhysDev) Actual(v *rules.Visit) string {
	w, ok := v.World.(rules.Bridger)
	if !ok {
		return "the ports of the node's bridges are not known"
	}
	switch ports, known := w.BridgePorts(v.Packet); {
	case !known:
		return "it is not known whether a bridge hands the packet to these tables"
	case ports.In == "" && ports.Out == "":
		return "no bridge carries the packet"
	default:
		var words []string
		if ports.In != "" {
			words = append(words, "in by port "+ports.In)
		}
		if ports.Out != "" {
			words = append(words, "out by port "+ports.Out)
		}
		return strings.Join(words, ", ")
	}
}

// deviceMatches compares a device with a name that may end in "+" (ifname_compare).
func deviceMatches(name, device string) bool {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return name == device
}

// deviceOf reads a device pattern as putDevice writes it; ok is false for any other mask.
func deviceOf(name, mask []byte) (device string, ok bool) {
	device = cString(name)
	var n, m [16]byte
	putDevice(device, n[:], m[:])
	return device, slices.Equal(mask, m[:]) && slices.Equal(name, n[:])
}

// putDevice writes a device pattern and its mask, as xtables_parse_interface does: a "+" stays in the name, and the closing
// zero counts where there is none.
func putDevice(device string, name, mask []byte) {
	copy(name, device)
	full := len(device) + 1
	if strings.HasSuffix(device, "+") {
		full = len(device) - 1
	}
	for i := range min(full, len(mask)) {
		mask[i] = 0xff
	}
}

// Device is the first value as the name of a device, or the beginning of names with a "+" behind it.
func (g *Given) Device() string {
	const longest = 15 // IFNAMSIZ without its zero
	if s := g.Text(); s == "" || len(s) > longest || strings.ContainsAny(s, "\x00 ") {
		g.bad(0, "a device's name of at most 15 bytes")
	}
	return g.Text()
}
