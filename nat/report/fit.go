package report

import (
	"strings"
	"unicode/utf8"
)

// wide is how many columns a rule takes with its conditions beside it; a narrower text has these in lines of their own.
const wide = 120

// narrow reports whether a text is set for fewer columns than wide.
func (st Style) narrow() bool { return st.Width > 0 && st.Width < wide }

// exceeds reports whether a line is longer than the text may be wide.
func (st Style) exceeds(line string) bool { return st.Width > 0 && columns(line) > st.Width }

// columns is how many columns a text takes; what paint added for colour takes none.
func columns(s string) (n int) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\x1b':
			i += strings.IndexByte(s[i:], 'm') // paint always ends its sequence
		case utf8.RuneStart(s[i]):
			n++
		}
	}
	return n
}

// pad fills s up to width columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

// minFold is the fewest columns that a text is folded into.
const minFold = 16

// Fold is a line's text broken at blanks where it exceeds the width: what follows stands in lines of its own behind indent. Words that
// are longer than a line are broken behind a "|" or a ",", and else stay whole. The text begins in the column that indent ends in.
func (st Style) Fold(text, indent string) string {
	room := st.Width - columns(indent)
	if st.Width <= 0 || columns(text) <= room {
		return text
	}
	room = max(room, minFold)
	var b strings.Builder
	at := 0
	for word := range strings.SplitSeq(text, " ") {
		for i, part := range st.parts(word, room) {
			n := columns(part)
			switch {
			case i > 0 || at > 0 && at+1+n > room:
				b.WriteString("\n" + indent)
				at = 0
			case at > 0:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(part)
			at += n
		}
	}
	return b.String()
}

// parts are a word in pieces that fit into the room, as far as it has places to break it.
func (st Style) parts(word string, room int) (out []string) {
	for columns(word) > room {
		at := strings.LastIndexAny(word[:room], "|,") + 1
		if at == 0 {
			break
		}
		out, word = append(out, word[:at]), word[at:]
	}
	return append(out, word)
}

// ascii has for each character of a drawing one that every terminal has, of the same width.
var ascii = strings.NewReplacer("╭", ".", "│", "|", "▼", "v", "●", "*", "✔", "+", "✘", "x", "→", ">", "«", "*", "»", "*")

// Letters is a text in the characters that the terminal has: as it is, or where these are ASCII's alone with others for the drawing's own.
func (st Style) Letters(text string) string {
	if st.ASCII {
		return ascii.Replace(text)
	}
	return text
}
