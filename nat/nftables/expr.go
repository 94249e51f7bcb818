package nftables

import (
	"fmt"
	"slices"
	"strings"
)

// Expr is what has a value: Selector, Constant, Concat, Operation, MapOf, Fib, NumGen, Hash, Raw, Other; and *In, what a value is looked up
// in.
type Expr interface {
	// String is the expression as nft prints it.
	String() string
	expr()
}

// Selector is a value of the packet or of what is known of it: "ip saddr", "meta mark", "ct state", "th dport". The list in
// selectors.go has them.
type Selector string

// Concat is several values as one, the parts between dots.
type Concat []Expr

// Operation is two values made one: Op is "&", "|", "^", "<<" or ">>".
type Operation struct {
	Left  Expr
	Op    string
	Right Expr
}

// In is what a value is looked up in: a set or map of the table, by name, or elements that stand in the rule.
type In struct {
	Name     string // without the @; "" for elements of its own
	Elements []Element
}

// Ref refers to a set or map of the table.
func Ref(name string) *In { return &In{Name: name} }

// MapOf is the value that a map has for a key.
type MapOf struct {
	Key Expr
	Map *In
}

// Fib is what the routes have for the packet: for the addresses and devices of Keys ("saddr", "daddr", "iif", "oif", "mark") the
// Result "type", "oif" or "oifname".
type Fib struct {
	Keys   []string
	Result string
}

// NumGen is a number from Offset on below Offset+Mod: by chance, or the next one each time.
type NumGen struct {
	Inc         bool
	Mod, Offset uint32
}

// Hash is a number made of a value, or of the packet's tuple (symhash).
type Hash struct {
	Of          Expr // nil: symhash
	Mod, Offset uint32
	Seed        string // as it is written; "" for none
}

// Raw are bits of a header without a name, at a place of its Base: "ll", "nh" or "th".
type Raw struct {
	Base     string
	At, Bits int
}

// Other is an expression that natlab does not read, as it is written.
type Other struct{ Text string }

func (Selector) expr()  {}
func (Constant) expr()  {}
func (Concat) expr()    {}
func (Operation) expr() {}
func (*In) expr()       {}
func (MapOf) expr()     {}
func (Fib) expr()       {}
func (NumGen) expr()    {}
func (Hash) expr()      {}
func (Raw) expr()       {}
func (Other) expr()     {}

// contains reports whether an expression, which may be nil, or a part of it is such a one.
func contains(e Expr, is func(Expr) bool) bool {
	part := func(p Expr) bool { return contains(p, is) }
	switch e := e.(type) {
	case nil:
		return false
	case Operation:
		return is(e) || part(e.Left) || part(e.Right)
	case Concat:
		return is(e) || slices.ContainsFunc(e, part)
	case MapOf:
		return is(e) || part(e.Key)
	case Hash:
		return is(e) || part(e.Of)
	case Selector, Constant, *In, Fib, NumGen, Raw, Other:
	}
	return is(e)
}

// String is the selector itself, without "meta" where nft leaves it out.
func (s Selector) String() string {
	if row, ok := selectorRow(string(s)); ok && row.bare {
		return strings.TrimPrefix(string(s), "meta ")
	}
	return string(s)
}

func (c Concat) String() string {
	parts := make([]string, len(c))
	for i, e := range c {
		parts[i] = e.String()
	}
	return strings.Join(parts, " . ")
}

func (o Operation) String() string {
	right := o.Right.String()
	if c, ok := o.Right.(Constant); ok && c.Type.row().mask && strings.Contains(right, ",") {
		right = "(" + c.text(" | ") + ")"
	}
	return o.Left.String() + " " + o.Op + " " + right
}

func (in *In) String() string {
	if in.Name != "" {
		return "@" + in.Name
	}
	return "{ " + joinElements(in.Elements, 0) + " }"
}

func (m MapOf) String() string { return m.Key.String() + " map " + m.Map.String() }

func (f Fib) String() string { return "fib " + strings.Join(f.Keys, " . ") + " " + f.Result }

func (n NumGen) String() string {
	how := "random"
	if n.Inc {
		how = "inc"
	}
	return "numgen " + how + " mod " + decimalOf(n.Mod) + offset(n.Offset)
}

func (h Hash) String() string {
	out := "symhash"
	if h.Of != nil {
		out = "jhash " + h.Of.String()
	}
	out += " mod " + decimalOf(h.Mod)
	if h.Seed != "" {
		out += " seed " + h.Seed
	}
	return out + offset(h.Offset)
}

func offset(n uint32) string {
	if n == 0 {
		return ""
	}
	return " offset " + decimalOf(n)
}

func (r Raw) String() string { return fmt.Sprintf("@%s,%d,%d", r.Base, r.At, r.Bits) }

func (o Other) String() string { return o.Text }

// typesOf are the types of an expression's parts.
func typesOf(e Expr) []Type {
	switch e := e.(type) {
	case Selector:
		if row, ok := selectorRow(string(e)); ok {
			return []Type{row.kind}
		}
	case Constant:
		return []Type{e.Type}
	case Concat:
		var out []Type
		for _, part := range e {
			out = append(out, typesOf(part)...)
		}
		return out
	case Operation:
		return typesOf(e.Left)
	case Fib:
		switch e.Result {
		case "type":
			return []Type{FibAddrType}
		case "oif":
			return []Type{IfIndex}
		}
		return []Type{IfName}
	case Raw:
		return []Type{RawBits}
	case MapOf, NumGen, Hash, Other, *In:
	}
	return []Type{Integer}
}
