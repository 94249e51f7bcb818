package xt

import "natlab/nat/rules"

// DevGroup is -m devgroup: the groups of the packet's devices (xt_devgroup.c). What a number is called stands in the node's
// own /etc/iproute2/group.
type DevGroup struct{ Source, Destination *DeviceGroup } // nil: not asked for

// DeviceGroup is (a device's group ^ Group) & Mask == 0.
type DeviceGroup struct {
	Not         bool
	Group, Mask uint32
}

var devGroupRow = Extension{
	Name:     "devgroup",
	Options:  []Option{{Name: "--src-group", Values: 1, Not: true}, {Name: "--dst-group", Values: 1, Not: true}},
	Examples: []string{"--src-group 0x1", "! --src-group 0x2/0xff --dst-group 0x3"},
	Parse: func(a *Args) Value {
		var m DevGroup
		a.Need("--src-group", "--dst-group")
		a.Once()
		for g := range a.Options {
			side := &m.Source
			if g.Name() == "--dst-group" {
				side = &m.Destination
			}
			group, mask := g.named("group", "/etc/iproute2/group")
			*side = &DeviceGroup{g.Not, group, mask}
		}
		return m
	},
	Listed: func(l *Listing) bool { return l.Options("") },
	// struct xt_devgroup_info { __u32 flags, src_group, src_mask, dst_group, dst_mask; }
	Layouts:   layouts(layout(0, 20, decodeDevGroup, encodeDevGroup)),
	Undecided: "the groups of the node's devices are not known",
}

// Bits of xt_devgroup_info.flags of the source; those of the destination are next to them (XT_DEVGROUP_*).
const (
	devGroupAsked   = 1 << 0
	devGroupInverse = 1 << 1
	devGroupBits    = 2
)

func (m *DevGroup) sides() [2]**DeviceGroup { return [2]**DeviceGroup{&m.Source, &m.Destination} }

func decodeDevGroup(d []byte, _ *Env) (m DevGroup, ok bool) {
	flags := order.Uint32(d)
	for i, side := range m.sides() {
		if f := flags >> (devGroupBits * i); f&devGroupAsked != 0 {
			*side = &DeviceGroup{f&devGroupInverse != 0, order.Uint32(d[4+8*i:]), order.Uint32(d[8+8*i:])}
		}
	}
	return m, flags != 0 && flags&^0xf == 0
}

func encodeDevGroup(m DevGroup, d []byte, _ *Env) error {
	flags := uint32(0)
	for i, side := range m.sides() {
		if g := *side; g != nil {
			flags |= (devGroupAsked | uint32(flagByte(g.Not))*devGroupInverse) << (devGroupBits * i)
			order.PutUint32(d[4+8*i:], g.Group)
			order.PutUint32(d[8+8*i:], g.Mask)
		}
	}
	order.PutUint32(d, flags)
	return nil
}

// Hooks are those where there are the devices that are asked for (devgroup_mt_checkentry).
func (m DevGroup) Hooks() Hooks {
	switch {
	case m.Destination == nil:
		return cameIn
	case m.Source == nil:
		return leaves
	}
	return cameIn & leaves
}

// Name is "devgroup".
func (DevGroup) Name() string { return "devgroup" }

// Save prints the groups.
func (m DevGroup) Save(p *Printer) { m.print(p, "--") }

// List prints the groups as iptables -L does.
func (m DevGroup) List(p *Printer) { m.print(p, "") }

// devGroupDestination is the iptables that prints the destination's group and not the source's in its place.
var devGroupDestination = Version{1, 6, 0}

func (m DevGroup) print(p *Printer, dashes string) {
	if g := m.Source; g != nil {
		p.Not(g.Not)
		p.Text(" ", dashes, "src-group")
		p.Mark(g.Group, g.Mask)
	}
	if g := m.Destination; g != nil {
		shown := *g
		if p.Version.Before(devGroupDestination) && !p.Exact {
			if shown.Group, shown.Mask = 0, 0; m.Source != nil {
				shown.Group, shown.Mask = m.Source.Group, m.Source.Mask
			}
		}
		p.Not(g.Not)
		p.Text(" ", dashes, "dst-group")
		p.Mark(shown.Group, shown.Mask)
	}
}

// Holds is not known.
func (DevGroup) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that the groups are not known.
func (DevGroup) Actual(*rules.Visit) string { return devGroupRow.Undecided }
