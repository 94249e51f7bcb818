package xt

import "natlab/nat/rules"

// NFLog is -j NFLOG: a copy of the packet goes to a program, and the packet goes on (xt_NFLOG.c).
type NFLog struct {
	Prefix    string
	Group     uint16
	Size      uint32 // how much of the packet is copied, with Sized
	Sized     bool   // --nflog-size; without it Size is --nflog-range, which does nothing
	Threshold uint16
}

// Bit of xt_nflog_info.flags: XT_NFLOG_F_COPY_LEN.
const nflogCopyLen = 1

// What iptables takes of a prefix: nf_tables has room for more than struct xt_nflog_info.
const (
	nflogPrefix    = 64
	nflogPrefixNFT = 128 // NF_LOG_PREFIXLEN
)

// NFLogNative is the revision under which natlab keeps a log expression of nf_tables, whose prefix can be longer; the
// kernel's x_tables has none of that number.
const NFLogNative = 255

var nflogRow = Extension{
	Name: "NFLOG", Kind: TargetKind,
	Options: []Option{
		{Name: "--nflog-group", Values: 1},
		{Name: "--nflog-prefix", Values: 1},
		{Name: "--nflog-range", Values: 1},
		{Name: "--nflog-size", Values: 1},
		{Name: "--nflog-threshold", Values: 1},
	},
	Examples: []string{
		"", "--nflog-group 5", "--nflog-size 0", `--nflog-prefix "with blanks" --nflog-group 65535 --nflog-size 128 --nflog-threshold 10`,
		"--nflog-range 64", "--nflog-prefix plain",
	},
	Parse: parseNFLog,
	// struct xt_nflog_info { __u32 len; __u16 group, threshold, flags, pad; char prefix[64]; }
	Layouts: layouts(nflogLayout(0, nflogPrefix), nflogLayout(NFLogNative, nflogPrefixNFT)),
	Listed:  func(l *Listing) bool { return l.Options("") },
}

func parseNFLog(a *Args) Value {
	var t NFLog
	a.Once()
	a.Exclusive("--nflog-range", "--nflog-size")
	for g := range a.Options {
		switch g.Name() {
		case "--nflog-prefix":
			t.Prefix = g.prefix(nflogPrefixNFT - 1)
		case "--nflog-group":
			t.Group = uint16(g.Uint(16))
		case "--nflog-range", "--nflog-size":
			t.Size, t.Sized = uint32(g.Uint(32)), g.Name() == "--nflog-size"
		case "--nflog-threshold":
			t.Threshold = uint16(g.Uint(16))
		}
	}
	return t
}

func nflogLayout(revision uint8, room int) Layout {
	return layout(revision, 12+room,
		func(d []byte, _ *Env) (NFLog, bool) {
			flags := order.Uint16(d[8:])
			return NFLog{cString(d[12:]), order.Uint16(d[4:]), order.Uint32(d), flags == nflogCopyLen, order.Uint16(d[6:])}, flags <= nflogCopyLen
		},
		func(t NFLog, d []byte, _ *Env) error {
			order.PutUint32(d, t.Size)
			order.PutUint16(d[4:], t.Group)
			order.PutUint16(d[6:], t.Threshold)
			order.PutUint16(d[8:], uint16(flagByte(t.Sized))*nflogCopyLen)
			return putString(d[12:], t.Prefix[:min(len(t.Prefix), room-1)]) // iptables cuts it, too
		})
}

// Bytes is the target as struct xt_nflog_info, or under NFLogNative where its prefix is too long for that.
func (t NFLog) Bytes() (revision uint8, data []byte, err error) {
	l := nflogRow.Layouts[0]
	if len(t.Prefix) >= nflogPrefix {
		l = nflogRow.Layouts[1]
	}
	data = make([]byte, Padded(l.Size))
	return l.Revision, data, l.Encode(t, data[:l.Size], nil)
}

// Name is "NFLOG".
func (NFLog) Name() string { return "NFLOG" }

// Save prints the options that differ from what holds without them.
func (t NFLog) Save(p *Printer) { t.print(p, "--") }

// List prints the same without dashes.
func (t NFLog) List(p *Printer) { t.print(p, "") }

func (t NFLog) print(p *Printer, dashes string) {
	if t.Prefix != "" {
		p.Text(" ", dashes, "nflog-prefix")
		p.Quoted(t.Prefix)
	}
	option := func(on bool, name string, v uint64) {
		if on {
			p.Number(dashes+name, v)
		}
	}
	sized := t.Sized && !p.Version.Before(Version{1, 6, 1})
	option(t.Group != 0, "nflog-group", uint64(t.Group))
	option(sized, "nflog-size", uint64(t.Size))
	option(!sized && t.Size != 0, "nflog-range", uint64(t.Size))
	option(t.Threshold != 0, "nflog-threshold", uint64(t.Threshold))
}

// Act goes on.
func (NFLog) Act(*rules.Visit) rules.Action { return rules.Continue() }
