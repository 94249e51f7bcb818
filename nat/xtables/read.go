package xtables

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
)

// words cuts a line as iptables-restore does: at blanks, with double quotes around what holds blanks and a backslash
// in front of a quote or a backslash inside them.
func words(line string) ([]string, error) {
	var out []string
	var b strings.Builder
	inWord, inQuotes := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && inQuotes && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case c == '"':
			inQuotes, inWord = !inQuotes, true
		case (c == ' ' || c == '\t') && !inQuotes:
			if inWord {
				out = append(out, b.String())
				b.Reset()
			}
			inWord = false
		default:
			inWord = true
			b.WriteByte(c)
		}
	}
	if inQuotes {
		return nil, errors.New("a quotation without an end")
	}
	if inWord {
		out = append(out, b.String())
	}
	return out, nil
}

// Writer turns rules in words into entries, with the revisions that one version of iptables would choose.
type Writer struct {
	Family  nat.Family
	Version Version
	Sets    map[string]uint16 // ipset name -> number
}

// ruleReader reads one rule.
type ruleReader struct {
	w        Writer
	registry *registry
	chains   map[string]bool // the table's
	entry    Entry
	args     *args
}

// ErrNotEncodable is a match, target or option that natlab has no bytes for.
var ErrNotEncodable = errors.New("natlab has no bytes for it")

// rule reads the words of a rule, without -A CHAIN.
func (w Writer) rule(r *registry, chains map[string]bool, line []string) (Entry, error) {
	rr := ruleReader{w: w, registry: r, chains: chains, entry: Entry{Header: anyHeader(w.Family)}}
	rr.args = &args{family: w.Family, sets: w.Sets, words: line}
	for i, word := range line { // it may stand behind the extension that needs it
		if word == "-p" && i+1 < len(line) && (i == 0 || line[i-1] != "!") {
			rr.args.protocol, _ = nat.ParseRuleProto(line[i+1])
		}
	}
	rr.entry.FallThrough = true
	rr.entry.Target.Data = make([]byte, alignment)
	for len(rr.args.words) > 0 && rr.args.err == nil {
		rr.option()
	}
	if rr.args.err != nil {
		return Entry{}, rr.args.err
	}
	return rr.entry, nil
}

// general reports whether a word is an option of the rule itself and not of a match or target.
func general(w string) bool {
	return len(w) == 2 && w[0] == '-' && strings.ContainsRune("sdiopfmjgc", rune(w[1]))
}

// option reads one of the rule's own options.
func (r *ruleReader) option() {
	a, h := r.args, &r.entry.Header
	a.general = false
	o, _ := a.next()
	var inv uint8
	switch o {
	case "-s":
		inv = InvSrc
		h.Src, h.SrcMask = r.network()
	case "-d":
		inv = InvDst
		h.Dst, h.DstMask = r.network()
	case "-i":
		inv = InvIn
		h.In, h.InMask = r.device()
	case "-o":
		inv = InvOut
		h.Out, h.OutMask = r.device()
	case "-p":
		inv = InvProto
		h.Proto = protoNumber(a, a.value())
		if r.w.Family == nat.IPv6 && h.Proto != 0 {
			h.Flags |= FlagProto
		}
	case "-f":
		inv = InvFragment
		h.Flags |= FlagFragment
		if r.w.Family == nat.IPv6 {
			a.unknown("-f")
		}
	case "-c":
		r.entry.Packets, r.entry.Bytes = a.number(64), a.number(64)
	case "-m":
		if !a.not {
			r.entry.Matches = append(r.entry.Matches, r.extension(a.value(), false))
		}
	case "-j":
		r.target(a.value())
	case "-g":
		h.Flags |= layoutOf(r.w.Family).gotoFlag
		r.jump(a.value())
	default:
		a.unknown(o)
	}
	if a.not {
		if inv == 0 {
			a.unknown("! " + o)
		}
		h.Inv |= inv
	}
}

func (r *ruleReader) network() (addr, mask netip.Addr) {
	not := r.args.not
	var b, m [16]byte
	parseMasked(r.args, r.args.value(), b[:], m[:])
	r.args.not = not
	return inetAddr(r.w.Family, b[:]), inetAddr(r.w.Family, m[:])
}

func (r *ruleReader) device() (name, mask [16]byte) {
	putDevice(r.args, r.args.value(), name[:], mask[:])
	return name, mask
}

func (r *ruleReader) jump(chain string) {
	if !r.chains[chain] {
		r.args.fail("chain %q is not there", chain)
	}
	r.entry.Jump, r.entry.FallThrough = chain, false
}

func (r *ruleReader) target(name string) {
	for v, word := range verdictNames {
		if word == name {
			r.entry.FallThrough = false
			order.PutUint32(r.entry.Target.Data, uint32(v))
			return
		}
	}
	if r.chains[name] {
		r.jump(name)
		return
	}
	r.entry.FallThrough = false
	r.entry.Target = r.extension(name, true)
}

// extension reads a match's or target's options, up to the next option of the rule itself.
func (r *ruleReader) extension(name string, target bool) Extension {
	if e, ok := rawExtension(name, firstTwo(r.args.words)); ok {
		r.args.words = r.args.words[2:]
		return e
	}
	c := r.registry.newest[extKey{name: name, target: target}]
	if c != nil {
		if rev, changed := revision(r.w.Version, r.w.Family, c.name, target); changed {
			c = r.registry.exact[extKey{c.name, target, rev}]
		}
	}
	if c == nil {
		r.args.fail("%s: %w", name, ErrNotEncodable)
		return Extension{}
	}
	d := make([]byte, padded(c.size))
	r.args.general, r.args.alias = true, name
	c.parse(r.args, d[:c.size])
	if r.args.err != nil {
		r.args.err = fmt.Errorf("%s: %w", name, r.args.err)
	}
	r.args.not = false
	return Extension{Name: c.name, Revision: c.revision, Data: d}
}

func firstTwo(w []string) []string { return w[:min(2, len(w))] }
