package nftables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// Statement is a part of a rule: Match, VMap, *Verdict, Assign, NAT, Reject, Counter, Limit, Quota, Log, Update, ObjectRef, NoTrack,
// Compat or Opaque.
type Statement interface {
	// String is the statement as nft prints it.
	String() string
	statement()
}

// Match is a condition. With no Op a value is one of Right's: of a sum of bits has one of them, of others is the same, or is in the set.
type Match struct {
	Left  Expr
	Op    string // "", "==", "!=", "<", ">", "<=", ">=", or "!" for a sum of bits that has none
	Right Expr   // Constant, Concat of those, or *In
}

// VMap gives the verdict that a map has for a key; without one the rule ends, and the packet goes on behind it.
type VMap struct {
	Key Expr
	Map *In
}

// Verdict is what becomes of the packet: Accept, Drop, Continue, Return, Jump or Goto. A rejection is a Reject, a queue a Queue.
type Verdict struct {
	Kind  nat.Verdict
	Chain string // of Jump and Goto
}

// Assign gives the packet, or its connection, a value: "meta mark set ...".
type Assign struct {
	To    Selector
	Value Expr
}

// NAT is dnat, snat, masquerade or redirect.
type NAT struct {
	Kind   rules.TranslationKind // DNAT, SNAT, Masquerade or Redirect
	Family Family                // "" where nft does not write it
	Prefix bool                  // the network part is replaced
	Concat bool                  // To has addresses and ports, which nft 1.0.6 does not write ("addr . port")
	Addr   Constant              // the zero Constant: none
	Port   Constant              // none: it is chosen
	To     Expr                  // in place of Addr or Port, or of both: a MapOf, or a value
	ToPort bool                  // To is a port, which nft prints behind a colon
	Flags  []string              // "random", "fully-random", "persistent"
}

// Reject answers the packet with an error and drops it. With is "icmp host-unreachable", "icmpx admin-prohibited", "tcp reset"; "" is
// port-unreachable.
type Reject struct{ With string }

// Counter counts what comes to it.
type Counter struct{ Packets, Bytes uint64 }

// Limit holds for packets up to a rate, or with Over for those beyond it (nft_limit).
type Limit struct {
	Over  bool
	Rate  uint64
	Bytes bool   // it counts bytes, not packets
	Per   string // "second", "minute", "hour", "day", "week"
	Burst uint64 // 0: nft's own, 5 packets
}

// Quota holds for packets until so many bytes have passed, or with Over beyond them.
type Quota struct {
	Over        bool
	Bytes, Used uint64
}

// Log notes the packet.
type Log struct{ Options string } // as nft prints them: `prefix "x: " level info`

// Update puts the packet's key into a set, or takes it out.
type Update struct {
	Op         string // "add", "update" or "delete"
	Set        string
	Key        Expr
	Data       Expr // of a map, else nil
	Timeout    time.Duration
	Statements []Statement // each element's own: limit, counter, ct count
}

// ObjectRef uses a named object of the table: `counter name "x"`.
type ObjectRef struct{ Kind, Name string }

// NoTrack keeps conntrack from the packet.
type NoTrack struct{}

// Queue hands the packet to a program.
type Queue struct {
	First, Last    uint16
	Bypass, Fanout bool
}

// Compat is a match or a target of x_tables, of which nft tells only the name.
type Compat struct{ Kind, Name string } // "match" or "target", and which

// Opaque is a statement that natlab does not read, as it is written.
type Opaque struct{ Text string }

func (Match) statement()     {}
func (VMap) statement()      {}
func (*Verdict) statement()  {}
func (Assign) statement()    {}
func (NAT) statement()       {}
func (Reject) statement()    {}
func (Counter) statement()   {}
func (Limit) statement()     {}
func (Quota) statement()     {}
func (Log) statement()       {}
func (Update) statement()    {}
func (ObjectRef) statement() {}
func (NoTrack) statement()   {}
func (Queue) statement()     {}
func (Compat) statement()    {}
func (Opaque) statement()    {}

// asks reports whether an expression that a statement has the value of, or a part of one, is such a one.
func asks(s Statement, is func(Expr) bool) bool {
	var of []Expr
	switch s := s.(type) {
	case Match:
		of = []Expr{s.Left}
	case VMap:
		of = []Expr{s.Key}
	case Assign:
		of = []Expr{s.To, s.Value}
	case NAT:
		of = []Expr{s.To}
	case Update:
		of = []Expr{s.Key, s.Data}
	case *Verdict, Reject, Counter, Limit, Quota, Log, ObjectRef, NoTrack, Queue, Compat, Opaque:
	}
	return slices.ContainsFunc(of, func(e Expr) bool { return contains(e, is) })
}

// Accept is the verdict that lets the packet go on to the next base chain.
func Accept() *Verdict { return &Verdict{Kind: nat.Accept} }

// Drop is the verdict that ends the packet.
func Drop() *Verdict { return &Verdict{Kind: nat.Drop} }

// Return is the verdict that leaves a chain.
func Return() *Verdict { return &Verdict{Kind: nat.Return} }

// Jump is the verdict that enters a chain, to come back.
func Jump(chain string) *Verdict { return &Verdict{nat.Jump, chain} }

// Goto is the verdict that enters a chain, not to come back here.
func Goto(chain string) *Verdict { return &Verdict{nat.Goto, chain} }

func (m Match) String() string {
	left, is := m.Left.(Operation)
	if is && left.Op == "&" && (m.Op == "==" || m.Op == "!=") {
		mask, ok := left.Right.(Constant)
		right, ok2 := m.Right.(Constant)
		if ok && ok2 && mask.Type.row().mask && (mask.severalBits() || right.severalBits()) {
			value := right.String() + " / " + mask.String()
			if m.Op == "!=" {
				value = "!= " + value
			}
			return left.Left.String() + " " + value
		}
	}
	right := m.Right.String()
	if c, is := m.Right.(Constant); is && c.severalBits() && (m.Op == "==" || m.Op == "!=") {
		if right = c.text(" | "); c.Type == TCPFlag {
			right = fmt.Sprintf("0x%x", c.Low.Low)
		} else if m.Op == "==" {
			return m.Left.String() + " " + right
		}
	}
	if m.Op == "" {
		return m.Left.String() + " " + right
	}
	return m.Left.String() + " " + m.Op + " " + right
}

// severalBits reports whether the constant is a sum of more than one bit.
func (c Constant) severalBits() bool {
	return c.Raw == "" && c.Type.row().mask && c.Low == c.High && c.Low.Low&(c.Low.Low-1) != 0
}

func (m VMap) String() string { return m.Key.String() + " vmap " + m.Map.String() }

func (v *Verdict) String() string {
	if v.Chain != "" {
		return v.Kind.String() + " " + v.Chain
	}
	return v.Kind.String()
}

func (a Assign) String() string { return a.To.String() + " set " + a.Value.String() }

var natWords = [...]string{rules.DNAT: "dnat", rules.SNAT: "snat", rules.Masquerade: "masquerade", rules.Redirect: "redirect"}

func (n NAT) String() string {
	out := natWords[n.Kind]
	if n.Family != "" {
		out += " " + string(n.Family)
	}
	if n.Prefix {
		out += " prefix"
	}
	switch none := (Constant{}); {
	case n.ToPort:
		out += " to " + target(n.Addr, Constant{Type: InetService, Raw: n.To.String()})
	case n.To != nil && n.Port != none:
		out += " to " + n.To.String() + ":" + n.Port.String()
	case n.To != nil:
		out += " to " + n.To.String()
	case n.Addr != none || n.Port != none:
		out += " to " + target(n.Addr, n.Port)
	}
	if len(n.Flags) > 0 {
		out += " " + strings.Join(n.Flags, ",")
	}
	return out
}

// target is "10.0.0.1:80", "[fd00::1]:80", ":80" or an address alone.
func target(a, port Constant) string {
	none := Constant{}
	if port == none {
		return a.String()
	}
	out := ""
	if a != none {
		if out = a.String(); a.Type == IPv6Addr {
			low, high, spans := strings.Cut(out, "-")
			if out = "[" + low + "]"; spans {
				out += "-[" + high + "]"
			}
		}
	}
	return out + ":" + port.String()
}

func (r Reject) String() string {
	if r.With == "" {
		return "reject"
	}
	return "reject with " + r.With
}

func (c Counter) String() string {
	return "counter packets " + strconv.FormatUint(c.Packets, 10) + " bytes " + strconv.FormatUint(c.Bytes, 10)
}

func (l Limit) String() string {
	out := "limit rate "
	if l.Over {
		out += "over "
	}
	if l.Bytes {
		out += size(l.Rate) + "/" + l.Per
		if l.Burst != 0 {
			out += " burst " + size(l.Burst)
		}
		return out
	}
	out += strconv.FormatUint(l.Rate, 10) + "/" + l.Per
	if l.Burst != 0 && l.Burst != 5 {
		out += " burst " + strconv.FormatUint(l.Burst, 10) + " packets"
	}
	return out
}

var sizeUnits = []string{"bytes", "kbytes", "mbytes"}

// size is a number of bytes in the unit that nft prints it in (get_rate).
func size(n uint64) string {
	unit := 0
	for unit+1 < len(sizeUnits) && n != 0 && n%1024 == 0 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatUint(n, 10) + " " + sizeUnits[unit]
}

func (q Quota) String() string {
	out := "quota "
	if q.Over {
		out += "over "
	}
	out += size(q.Bytes)
	if q.Used != 0 {
		out += " used " + size(q.Used)
	}
	return out
}

func (l Log) String() string { return strings.TrimSuffix("log "+l.Options, " ") }

func (u Update) String() string {
	out := u.Op + " @" + u.Set + " { " + u.Key.String()
	if u.Timeout != 0 {
		out += " timeout " + printDuration(u.Timeout)
	}
	out += joinUncounted(u.Statements)
	if u.Data != nil {
		out += " : " + u.Data.String()
	}
	return out + " }"
}

// joinUncounted prints statements without what they have counted (set_stmt_print).
func joinUncounted(all []Statement) string {
	var b strings.Builder
	for _, st := range all {
		switch l := st.(type) {
		case Counter:
			b.WriteString(" counter")
		case Quota:
			l.Used = 0
			b.WriteString(" " + l.String())
		default:
			b.WriteString(" " + st.String())
		}
	}
	return b.String()
}

func (o ObjectRef) String() string { return o.Kind + " name " + quote(o.Name) }

func (NoTrack) String() string { return "notrack" }

func (q Queue) String() string {
	out := "queue"
	var flags []string
	if q.Bypass {
		flags = append(flags, "bypass")
	}
	if q.Fanout {
		flags = append(flags, "fanout")
	}
	if len(flags) > 0 {
		out += " flags " + strings.Join(flags, ",")
	}
	out += " to " + strconv.Itoa(int(q.First))
	if q.Last != q.First {
		out += "-" + strconv.Itoa(int(q.Last))
	}
	return out
}

func (c Compat) String() string { return "xt " + c.Kind + " " + quote(c.Name) }

func (o Opaque) String() string { return o.Text }

// String is the rule in one line, as nft prints it.
func (r Rule) String() string {
	out := joinStatements(r.Statements)
	if r.Comment != "" {
		out += " comment " + quote(r.Comment)
	}
	return strings.TrimPrefix(out, " ")
}

func decimalOf(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// quote puts a text into quotes, as nft does: it knows no escapes.
func quote(s string) string { return `"` + s + `"` }
