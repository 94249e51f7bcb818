package xtables

// markTargets set marks.
func markTargets() []codec {
	return []codec{
		connmarkTarget(2, 15, 14),
		connmarkTarget(1, 13, 12),
	}
}

// markVerb says what a value and a mask do to a mark: mark = mark &^ mask ^ value.
func markVerb(value, mask uint32) string {
	p := printer{}
	switch {
	case value == 0:
		p.f("and 0x%x", ^mask)
	case value == mask:
		p.f("or 0x%x", value)
	case mask == 0:
		p.f("xor 0x%x", value)
	case mask == 0xffffffff:
		p.f("set 0x%x", value)
	default:
		p.f("xset 0x%x/0x%x", value, mask)
	}
	return p.String()
}

// markOption reads the options that MARK and CONNMARK share, as value and mask of --set-xmark.
func markOption(a *args, o string) (value, mask uint32, ok bool) {
	switch o {
	case "--set-xmark":
		value, mask = a.masked()
	case "--set-mark": // bits of the value that the mask lacks are set all the same
		value, mask = a.masked()
		mask |= value
	case "--and-mark":
		mask = ^a.u32()
	case "--or-mark":
		value = a.u32()
		mask = value
	case "--xor-mark":
		value = a.u32()
	default:
		return 0, 0, false
	}
	return value, mask, true
}

// Modes of CONNMARK: XT_CONNMARK_*.
const (
	connmarkSet = iota
	connmarkSave
	connmarkRestore
)

// connmarkTarget is
//
//	struct xt_connmark_tginfo1 { __u32 ctmark, ctmask, nfmask; __u8 mode; }
//	struct xt_connmark_tginfo2 { __u32 ctmark, ctmask, nfmask; __u8 shift_dir, shift_bits, mode; }
func connmarkTarget(revision uint8, size, modeAt int) codec {
	shifts := modeAt == 14
	shift := func(p *printer, d []byte, dashes string) {
		if !shifts || d[13] == 0 {
			return
		}
		p.only(uint32(d[12]), 1)
		p.f(" %s%s-shift-mark %d", dashes, [...]string{"left", "right"}[d[12]&1], d[13])
	}
	return codec{
		name: "CONNMARK", revision: revision, target: true, size: size,
		save: func(p *printer, d []byte) {
			ct, ctmask, nfmask := order.Uint32(d), order.Uint32(d[4:]), order.Uint32(d[8:])
			switch d[modeAt] {
			case connmarkSet:
				p.f(" --set-xmark 0x%x/0x%x", ct, ctmask)
			case connmarkSave:
				p.f(" --save-mark --nfmask 0x%x --ctmask 0x%x", nfmask, ctmask)
			case connmarkRestore:
				p.f(" --restore-mark --nfmask 0x%x --ctmask 0x%x", nfmask, ctmask)
			default:
				p.WriteString(" ERROR: UNKNOWN CONNMARK MODE")
				p.unsaid = true
			}
			shift(p, d, "--")
		},
		list: func(p *printer, d []byte) {
			ct, ctmask, nfmask := order.Uint32(d), order.Uint32(d[4:]), order.Uint32(d[8:])
			p.WriteString(" CONNMARK")
			switch d[modeAt] {
			case connmarkSet:
				p.f(" %s", markVerb(ct, ctmask))
			case connmarkSave:
				connmarkMasks(p, "save", "nfmask", nfmask, "ctmask", ctmask)
			case connmarkRestore:
				connmarkMasks(p, "restore", "ctmask", ctmask, "nfmask", nfmask)
			default:
				p.WriteString(" ERROR: UNKNOWN CONNMARK MODE")
			}
			shift(p, d, "")
		},
		parse: func(a *args, d []byte) { parseConnmark(a, d, modeAt, shifts) },
	}
}

// connmarkMasks prints what save and restore copy: nothing for everything, one mask where both are the same.
func connmarkMasks(p *printer, verb, from string, fromMask uint32, to string, toMask uint32) {
	p.f(" %s", verb)
	switch {
	case fromMask == 0xffffffff && toMask == 0xffffffff:
	case fromMask == toMask:
		p.f(" mask 0x%x", fromMask)
	default:
		p.f(" %s 0x%x %s ~0x%x", from, fromMask, to, toMask)
	}
}

func parseConnmark(a *args, d []byte, modeAt int, shifts bool) {
	order.PutUint32(d[4:], 0xffffffff)
	order.PutUint32(d[8:], 0xffffffff)
	for o, ok := a.next(); ok; o, ok = a.next() {
		if a.not {
			a.unknown("! " + o)
			return
		}
		switch o {
		case "--save-mark":
			d[modeAt] = connmarkSave
		case "--restore-mark":
			d[modeAt] = connmarkRestore
		case "--nfmask":
			order.PutUint32(d[8:], a.u32())
		case "--ctmask":
			order.PutUint32(d[4:], a.u32())
		case "--mask":
			m := a.u32()
			order.PutUint32(d[4:], m)
			order.PutUint32(d[8:], m)
		case "--left-shift-mark", "--right-shift-mark":
			if !shifts {
				a.fail("%s needs revision 2 of CONNMARK", o)
				return
			}
			if o == "--right-shift-mark" {
				d[12] = 1
			}
			d[13] = byte(a.number(8))
		default:
			v, m, known := markOption(a, o)
			if !known {
				a.unknown(o)
				return
			}
			d[modeAt] = connmarkSet
			order.PutUint32(d, v)
			order.PutUint32(d[4:], m)
		}
	}
}
