package xtables

import (
	"net/netip"
	"strings"
)

// deviceMatches look at devices, routes, sockets and address ranges.
func deviceMatches() []codec {
	return []codec{
		{name: "rpfilter", size: 1, save: saveRPFilter, list: listRPFilter, parse: parseRPFilter},
		{name: "physdev", size: 66, save: savePhysdev, list: listPhysdev, parse: parsePhysdev},
		{name: "owner", revision: 1, size: 18, save: saveOwner, list: listOwner, parse: parseOwner},
		{name: "socket", revision: 3, size: 1, save: saveSocket, list: listSocket, parse: parseSocket},
	}
}

// flagByte is a match that is nothing but flags: option i is bit i.
func saveFlags(p *printer, v byte, options []string) {
	p.only(uint32(v), 1<<len(options)-1)
	for i, o := range options {
		p.flag(v&(1<<i) != 0, o)
	}
}

func parseFlags(a *args, options []string) (v byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		known := false
		for i, name := range options {
			if o == name && !a.not {
				v |= 1 << i
				known = true
			}
		}
		if !known {
			a.unknown(o)
		}
	}
	return v
}

// struct xt_rpfilter_info { __u8 flags; }
var rpfilterFlags = []string{"--loose", "--validmark", "--accept-local", "--invert"}

func saveRPFilter(p *printer, d []byte) { saveFlags(p, d[0], rpfilterFlags) }
func listRPFilter(p *printer, d []byte) {
	p.WriteString(" rpfilter")
	for i, o := range rpfilterFlags {
		p.flag(d[0]&(1<<i) != 0, strings.TrimPrefix(o, "--"))
	}
}
func parseRPFilter(a *args, d []byte) { d[0] = parseFlags(a, rpfilterFlags) }

// struct xt_socket_mtinfo3 { __u8 flags; }
var socketFlags = []string{"--transparent", "--nowildcard", "--restore-skmark"}

func saveSocket(p *printer, d []byte) { saveFlags(p, d[0], socketFlags) }
func listSocket(p *printer, d []byte) { p.WriteString(" socket"); saveFlags(p, d[0], socketFlags) }
func parseSocket(a *args, d []byte)   { d[0] = parseFlags(a, socketFlags) }

// deviceName prints a device pattern: as much of the name as the mask counts, and "+" where the closing zero does not.
func deviceName(name, mask []byte) string {
	n := 0
	for n < len(mask) && mask[n] != 0 {
		n++
	}
	s := text(name[:n])
	if n > 0 && n < len(mask) && len(s) == n {
		s += "+"
	}
	return s
}

// putDevice writes a device pattern and its mask, as xtables_parse_interface does: the "+" stays in the name.
func putDevice(a *args, s string, name, mask []byte) {
	if s == "" || len(s) >= len(name) {
		a.fail("device %q: want 1 to %d bytes", s, len(name)-1)
		return
	}
	copy(name, s)
	full := len(s) + 1 // the closing zero counts, too
	if strings.HasSuffix(s, "+") {
		full = len(s) - 1
	}
	for i := range full {
		mask[i] = 0xff
	}
}

// struct xt_physdev_info { char physindev[16], in_mask[16], physoutdev[16], out_mask[16]; __u8 invert, bitmask; }
// with these bits, in the order in which they are printed:
var physdevOptions = []struct {
	option string
	bit    byte
	device int // where its name stands, or -1
}{
	{"--physdev-is-in", 8, -1},
	{"--physdev-in", 1, 0},
	{"--physdev-is-out", 16, -1},
	{"--physdev-out", 2, 32},
	{"--physdev-is-bridged", 4, -1},
}

func savePhysdev(p *printer, d []byte) {
	inv, bits := d[64], d[65]
	p.only(uint32(bits|inv), 31)
	for _, o := range physdevOptions {
		if bits&o.bit == 0 {
			continue
		}
		p.not(inv&o.bit != 0)
		p.flag(true, o.option)
		if o.device >= 0 {
			p.f(" %s", deviceName(d[o.device:o.device+16], d[o.device+16:o.device+32]))
		}
	}
}

func listPhysdev(p *printer, d []byte) { p.WriteString(" PHYSDEV match"); savePhysdev(p, d) }

func parsePhysdev(a *args, d []byte) {
next:
	for o, ok := a.next(); ok; o, ok = a.next() {
		for _, k := range physdevOptions {
			if k.option != o {
				continue
			}
			d[65] |= k.bit
			if a.not {
				d[64] |= k.bit
			}
			if k.device >= 0 {
				putDevice(a, a.value(), d[k.device:k.device+16], d[k.device+16:k.device+32])
			}
			continue next
		}
		a.unknown(o)
	}
}

// struct xt_owner_match_info { __u32 uid_min, uid_max, gid_min, gid_max; __u8 match, invert; }
func saveOwner(p *printer, d []byte) {
	match, inv := d[16], d[17]
	p.only(uint32(match|inv), 15)
	if match&4 != 0 {
		p.not(inv&4 != 0)
		p.flag(true, "--socket-exists")
	}
	if match&1 != 0 {
		p.not(inv&1 != 0)
		p.f(" --uid-owner %s", pair(order.Uint32(d), order.Uint32(d[4:]), "-"))
	}
	if match&2 != 0 {
		p.not(inv&2 != 0)
		p.f(" --gid-owner %s", pair(order.Uint32(d[8:]), order.Uint32(d[12:]), "-"))
	}
	p.flag(match&8 != 0, "--suppl-groups")
}

func listOwner(p *printer, d []byte) {
	match, inv := d[16], d[17]
	part := func(bit byte, s string) {
		if match&bit != 0 {
			p.not(inv&bit != 0)
			p.f(" owner %s", s)
		}
	}
	part(4, "socket exists")
	part(1, "UID match "+pair(order.Uint32(d), order.Uint32(d[4:]), "-"))
	part(2, "GID match "+pair(order.Uint32(d[8:]), order.Uint32(d[12:]), "-"))
	p.flag(match&8 != 0, "incl. suppl. groups")
}

func parseOwner(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		var bit byte
		not := a.not
		switch o {
		case "--socket-exists":
			bit = 4
		case "--suppl-groups":
			bit = 8
		case "--uid-owner", "--gid-owner":
			at := 0
			if bit = 1; o == "--gid-owner" {
				at, bit = 8, 2
			}
			lo, hi := a.span("-", 32)
			order.PutUint32(d[at:], uint32(lo))
			order.PutUint32(d[at+4:], uint32(hi))
		default:
			a.unknown(o)
		}
		d[16] |= bit
		if not {
			d[17] |= bit
		}
	}
}

// maskBits is the prefix length of a netmask, and whether it has one.
func maskBits(m netip.Addr) (int, bool) {
	n, end := 0, false
	for _, b := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			if b&(1<<bit) == 0 {
				end = true
			} else if end {
				return 0, false
			} else {
				n++
			}
		}
	}
	return n, true
}
