package report

// Style is how a text is to look. The zero Style is plain.
type Style struct {
	Colour bool // ANSI colours, for a terminal
	ASCII  bool // without a character that is not ASCII's
	Width  int  // how many columns the terminal has; 0 where there is none, and lines may be of any length
	Lines  bool // with the line of the saved rule set that a rule stands in
}

// ink is what a piece of text is, and so how it is painted.
type ink string

// The inks, as the parameters of ANSI's SGR sequence.
const (
	plain   ink = ""
	quiet   ink = "2"    // what is there for reference
	station ink = "1;36" // a namespace
	changed ink = "1;33" // an address that NAT rewrote
	action  ink = "33"   // what rewrote it
	good    ink = "1;32"
	bad     ink = "1;31"
	unsure  ink = "1;35"
	heading ink = "1"
)

// paint is s in the ink's colour. Without colours only a changed address is marked, by «».
func (st Style) paint(i ink, s string) string {
	switch {
	case i == plain || s == "":
		return s
	case st.Colour:
		return "\x1b[" + string(i) + "m" + s + "\x1b[0m"
	case i == changed:
		return "«" + s + "»"
	}
	return s
}
