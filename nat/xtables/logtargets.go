package xtables

// logTargets report packets or hand them to user space.
func logTargets() []codec {
	return []codec{
		{name: "LOG", target: true, size: 32, save: saveLOG, list: listLOG, parse: parseLOG},
		{name: "NFLOG", target: true, size: 80, save: saveNFLOG, list: listNFLOG, parse: parseNFLOG},
		nfqueue(3, 6), nfqueue(2, 6), nfqueue(1, 4), nfqueue(0, 2),
		{name: "TRACE", target: true, save: saveNothing, list: saveNothing, parse: parseNothing},
	}
}

func saveNothing(*printer, []byte) {}

func parseNothing(a *args, _ []byte) {
	if o, ok := a.next(); ok {
		a.unknown(o)
	}
}

// struct ipt_log_info { unsigned char level, logflags; char prefix[30]; }
var logFlags = []string{"--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "", "--log-macdecode"}

// logLevels are the names that --log-level takes.
var logLevels = []string{"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"}

func saveLOG(p *printer, d []byte) {
	if prefix := text(d[2:32]); prefix != "" {
		p.WriteString(" --log-prefix")
		p.quoted(prefix)
	}
	if d[0] != 4 {
		p.f(" --log-level %d", d[0])
	}
	p.only(uint32(d[1]), 0x3f)
	for i, o := range logFlags {
		p.flag(o != "" && d[1]&(1<<i) != 0, o)
	}
}

func listLOG(p *printer, d []byte) {
	p.f(" LOG flags %d level %d", d[1], d[0])
	if prefix := text(d[2:32]); prefix != "" {
		p.f(` prefix "%s"`, prefix)
	}
}

func parseLOG(a *args, d []byte) {
	d[0] = 4
next:
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--log-prefix":
			a.text(a.value(), d[2:32])
			continue
		case "--log-level":
			d[0] = logLevel(a)
			continue
		}
		for i, name := range logFlags {
			if o == name && !a.not {
				d[1] |= 1 << i
				continue next
			}
		}
		a.unknown(o)
	}
}

func logLevel(a *args) byte {
	s := a.value()
	for i, name := range logLevels {
		if s == name {
			return byte(i)
		}
	}
	one := args{words: []string{s}}
	n := one.number(8)
	if one.err != nil || n > 7 {
		a.fail("--log-level %q", s)
	}
	return byte(n)
}

// struct xt_nflog_info { __u32 len; __u16 group, threshold, flags, pad; char prefix[64]; }
const nflogCopyLen = 1 // XT_NFLOG_F_COPY_LEN: len was asked for by --nflog-size

func nflog(p *printer, d []byte, dashes string) {
	if prefix := text(d[12:76]); prefix != "" {
		p.f(" %snflog-prefix", dashes)
		p.quoted(prefix)
	}
	p.only(uint32(order.Uint16(d[8:])), nflogCopyLen)
	option := func(on bool, name string, v uint32) {
		if on {
			p.f(" %s%s %d", dashes, name, v)
		}
	}
	group, size, threshold := uint32(order.Uint16(d[4:])), order.Uint32(d), uint32(order.Uint16(d[6:]))
	sized := order.Uint16(d[8:])&nflogCopyLen != 0 && knows(p.version, nflogSize)
	option(group != 0, "nflog-group", group)
	option(sized, "nflog-size", size)
	option(!sized && size != 0, "nflog-range", size)
	option(threshold != 0, "nflog-threshold", threshold)
}

func saveNFLOG(p *printer, d []byte) { nflog(p, d, "--") }
func listNFLOG(p *printer, d []byte) { nflog(p, d, "") }

func parseNFLOG(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--nflog-prefix":
			a.text(a.value(), d[12:76])
		case "--nflog-group":
			order.PutUint16(d[4:], a.u16())
		case "--nflog-range":
			order.PutUint32(d, a.u32())
		case "--nflog-size":
			order.PutUint32(d, a.u32())
			order.PutUint16(d[8:], nflogCopyLen)
		case "--nflog-threshold":
			order.PutUint16(d[6:], a.u16())
		default:
			a.unknown(o)
		}
	}
}

// nfqueue is struct xt_NFQ_info_v3 { __u16 queuenum, queues_total, flags; } and its shorter forebears.
func nfqueue(revision uint8, size int) codec {
	dump := func(p *printer, d []byte, num, balance, dashes string) {
		first, total, flags := uint32(order.Uint16(d)), uint32(1), uint16(0)
		if size > 2 {
			total = uint32(order.Uint16(d[2:]))
		}
		if size > 4 {
			flags = order.Uint16(d[4:])
		}
		p.only(uint32(flags), 3)
		if total > 1 {
			p.f(" %s %d:%d", balance, first, first+total-1)
		} else {
			p.f(" %s %d", num, first)
		}
		p.flag(flags&1 != 0, dashes+"bypass")
		p.flag(flags&2 != 0, map[bool]string{true: "--queue-cpu-fanout", false: "cpu-fanout"}[dashes != ""])
	}
	return codec{
		name: "NFQUEUE", revision: revision, target: true, size: size,
		save:  func(p *printer, d []byte) { dump(p, d, "--queue-num", "--queue-balance", "--queue-") },
		list:  func(p *printer, d []byte) { dump(p, d, "NFQUEUE num", "NFQUEUE balance", "") },
		parse: func(a *args, d []byte) { parseNFQUEUE(a, d) },
	}
}

func parseNFQUEUE(a *args, d []byte) {
	put := func(at int, v uint64) {
		switch {
		case at+2 <= len(d):
			order.PutUint16(d[at:], uint16(v))
		case v > 1:
			a.fail("NFQUEUE: this needs a newer revision")
		}
	}
	total, flags := uint64(1), uint64(0)
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--queue-num":
			put(0, a.number(16))
		case "--queue-balance":
			lo, hi := a.span(":", 16)
			put(0, lo)
			total = hi - lo + 1
		case "--queue-bypass":
			flags |= 1
		case "--queue-cpu-fanout":
			flags |= 2
		default:
			a.unknown(o)
		}
	}
	if len(d) >= 4 || total > 1 {
		put(2, total)
	}
	if flags != 0 && len(d) < 6 {
		a.fail("NFQUEUE: flags need a newer revision")
		return
	}
	put(4, flags)
}
