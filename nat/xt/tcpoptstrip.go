package xt

import (
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// TCPOptStrip is -j TCPOPTSTRIP: TCP options become no-operations (xt_TCPOPTSTRIP.c).
type TCPOptStrip struct{ Kinds [8]uint32 } // a bit for each kind of option

var tcpOptStripRow = Extension{
	Name: "TCPOPTSTRIP", Kind: TargetKind, Tables: []string{"mangle"}, Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP},
	Options:  []Option{{Name: "--strip-options", Values: 1}},
	Examples: []string{"--strip-options 2,3,8,19,255", ""},
	Listed: func(l *Listing) bool {
		if !l.Take("TCPOPTSTRIP options") {
			return false
		}
		kinds := l.Word() // names without -n; old ones print the words for none, too
		if l.Give("--strip-options", false, kinds); kinds == "" {
			l.given = nil
		}
		return true
	},
	Parse: func(a *Args) Value {
		var t TCPOptStrip
		a.Once()
		for g := range a.Options {
			t.read(g)
		}
		return t
	},
	// struct xt_tcpoptstrip_target_info { __u32 strip_bmap[8]; }
	Layouts: layouts(layout(0, 32,
		func(d []byte, _ *Env) (t TCPOptStrip, ok bool) {
			for i := range t.Kinds {
				t.Kinds[i] = order.Uint32(d[4*i:])
			}
			return t, t.Kinds[0]&3 == 0
		},
		func(t TCPOptStrip, d []byte, _ *Env) error {
			for i, word := range t.Kinds {
				order.PutUint32(d[4*i:], word)
			}
			return nil
		})),
}

// tcpOptionNames are the names of options that iptables takes.
var tcpOptionNames = map[string]uint64{"wscale": 3, "mss": 2, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19}

func (t *TCPOptStrip) read(g *Given) {
	for word := range strings.SplitSeq(g.Text(), ",") {
		kind, ok := tcpOptionNames[word]
		if !ok {
			kind, ok = Number(word, 255)
		}
		switch {
		case !ok || kind <= tcpNoOperation:
			g.bad(0, "numbers from 2 to 255, wscale, mss, sack-permitted, sack, timestamp or md5, with commas between them")
			return
		case t.has(uint8(kind)):
			g.Fail("%s is there twice", word)
			return
		}
		t.Kinds[kind/32] |= 1 << (kind % 32)
	}
}

func (t *TCPOptStrip) has(kind uint8) bool { return t.Kinds[kind/32]&(1<<(kind%32)) != 0 }

// list is the kinds of options, with commas between them.
func (t *TCPOptStrip) list() string {
	var out []string
	for kind := range 256 {
		if t.has(uint8(kind)) {
			out = append(out, strconv.Itoa(kind))
		}
	}
	return strings.Join(out, ",")
}

// Name is "TCPOPTSTRIP".
func (TCPOptStrip) Name() string { return "TCPOPTSTRIP" }

// silentStrip is the iptables that prints nothing where there is nothing to strip.
var silentStrip = Version{1, 8, 9}

// Save prints the options.
func (t TCPOptStrip) Save(p *Printer) { t.print(p, " --strip-options ") }

// List prints the options as iptables -L does.
func (t TCPOptStrip) List(p *Printer) { t.print(p, " TCPOPTSTRIP options ") }

func (t TCPOptStrip) print(p *Printer, name string) {
	if list := t.list(); list != "" || p.Version.Before(silentStrip) && !p.Exact {
		p.Text(name, list)
	}
}

// Act overwrites the options. A header that is cut short drops the packet.
func (t TCPOptStrip) Act(v *rules.Visit) rules.Action {
	if v.Wire == nil || v.Wire.Later() {
		return rules.Continue()
	}
	h := v.Wire.Transport()
	if len(h) < tcpHeader || len(h) < int(h[12]>>4)*4 {
		return rules.Action{Verdict: nat.Drop}
	}
	v.Pull(int(h[12]>>4) * 4) // tcpoptstrip_mangle_packet
	for at, option := range v.Wire.TCPOptions {
		if len(option) < max(1, int(h[at+1])) { // it ends behind the header
			break
		}
		if t.has(option[0]) {
			nothing := make([]byte, len(option))
			for i := range nothing {
				nothing[i] = tcpNoOperation
			}
			v.Wire.WriteTCP(at, nothing)
		}
	}
	return rules.Continue()
}
