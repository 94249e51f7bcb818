package xt

import (
	"errors"

	"natlab/nat"
	"natlab/nat/rules"
)

// CGroup is -m cgroup: the control group of the socket that sent or gets the packet, as net_cls' class or as a path below
// the root of cgroup2 (xt_cgroup.c).
type CGroup struct {
	Not  bool
	Path string // "" for a class
	// Class is the class id. Revision 0, which iptables before 1.6.1 writes, has nothing else.
	Class uint32
}

var cgroupRow = Extension{
	Name: "cgroup", Hooks: HooksOf(nat.Input, nat.Output, nat.PostRouting),
	Options:  []Option{{Name: "--path", Values: 1, Not: true}, {Name: "--cgroup", Values: 1, Not: true}},
	Examples: []string{"--cgroup 1", "! --cgroup 1048577", `--path "/"`, `! --path "/"`},
	Parse: func(a *Args) Value {
		var m CGroup
		a.Need("--path", "--cgroup")
		a.Exclusive("--path", "--cgroup")
		a.Once()
		for g := range a.Options {
			if m.Not = g.Not; g.Name() == "--cgroup" {
				m.Class = uint32(g.Uint(32))
			} else if m.Path = g.TextUpTo(cgroupPath2 - 1); m.Path == "" {
				g.bad(0, "a path")
			}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken, not := l.TakeWord("cgroup"), l.Bang()
		option, word := "--cgroup", l.Word()
		if _, number := Number(word, 1<<32-1); !number {
			option = "--path"
		}
		l.Give(option, not, word)
		return taken
	},
	Layouts: layouts(
		// struct xt_cgroup_info_v2 { __u8 has_path, has_classid, invert_path, invert_classid; union { char path[512]; __u32
		// classid; }; void *priv; }
		cgroupLayout(2, 528, cgroupPath2, cgroupName).since(Version{1, 8, 1}),
		// struct xt_cgroup_info_v1 is the same with char path[4096] and the class behind it
		cgroupLayout(1, 4112, cgroupPath1, cgroupName+cgroupPath1).since(Version{1, 6, 1}),
		// struct xt_cgroup_info_v0 { __u32 id, invert; }
		layout(0, 8,
			func(d []byte, _ *Env) (CGroup, bool) {
				return CGroup{Not: order.Uint32(d[4:]) != 0, Class: order.Uint32(d)}, true
			},
			func(m CGroup, d []byte, _ *Env) error {
				if m.Path != "" {
					return errors.New("revision 0 of cgroup has no --path")
				}
				order.PutUint32(d, m.Class)
				order.PutUint32(d[4:], uint32(flagByte(m.Not)))
				return nil
			}),
	),
	Undecided: "which control group the packet's socket is in is not known",
}

// The sizes of the structs' paths, and where they begin.
const (
	cgroupPath1 = 4096
	cgroupPath2 = 512
	cgroupName  = 4
)

func cgroupLayout(revision uint8, size, path, class int) Layout {
	return layout(revision, size,
		func(d []byte, _ *Env) (m CGroup, ok bool) {
			if d[0] != 0 {
				return CGroup{Not: d[2] != 0, Path: cString(d[cgroupName : cgroupName+path])}, d[1] == 0
			}
			return CGroup{Not: d[3] != 0, Class: order.Uint32(d[class:])}, d[1] != 0
		},
		func(m CGroup, d []byte, _ *Env) error {
			if m.Path != "" {
				d[0], d[2] = 1, flagByte(m.Not)
				return putString(d[cgroupName:cgroupName+path], m.Path)
			}
			d[1], d[3] = 1, flagByte(m.Not)
			order.PutUint32(d[class:], m.Class)
			return nil
		})
}

// Name is "cgroup".
func (CGroup) Name() string { return "cgroup" }

// Save prints the path or the class.
func (m CGroup) Save(p *Printer) {
	p.Not(m.Not)
	if m.Path == "" {
		p.Number("--cgroup", uint64(m.Class))
		return
	}
	p.Text(" --path")
	p.Quoted(m.Path)
}

// List prints the path or the class as iptables -L does.
func (m CGroup) List(p *Printer) {
	p.Text(" cgroup")
	p.Not(m.Not)
	if m.Path == "" {
		p.Textf(" %d", m.Class)
		return
	}
	p.Text(" ", m.Path)
}

// Holds is not known of a packet that a process of the node sends or gets. What only passes has no socket, and the kernel
// allows no rule where it has none yet.
func (CGroup) Holds(v *rules.Visit) rules.Answer {
	switch v.Hook {
	case nat.PreRouting, nat.Forward:
		return rules.No
	case nat.Output, nat.PostRouting:
		if v.Sender.Socket == rules.NoSocket {
			return rules.No
		}
	case nat.Input:
	}
	return rules.Unknown
}

// Actual tells that there is no socket.
func (CGroup) Actual(*rules.Visit) string { return "no socket of the node sent the packet" }
