package scenarios

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	seenPort = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+):(\d+)`)
	anyPort  = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+):(\d+|[a-z])\b`)
	blanks   = regexp.MustCompile(` {2,}`)
)

// lettered gives letters to the ports of a drawing that chance chose, those that are not known, in the order in which they
// come. Widths change with them, so runs of blanks become two.
func lettered(text string, known func(port string) bool) string {
	letters := map[string]string{}
	text = seenPort.ReplaceAllStringFunc(text, func(m string) string {
		address, port, _ := strings.Cut(m, ":")
		if known(port) {
			return m
		}
		if letters[port] == "" {
			letters[port] = string(rune('a' + len(letters)))
		}
		return address + ":" + letters[port]
	})
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintln(&b, evenly(line))
	}
	return b.String()
}

// evenly is a line with two blanks for each longer run of them, but for its indent.
func evenly(line string) string {
	indent := len(line) - len(strings.TrimLeft(line, " "))
	return line[:indent] + blanks.ReplaceAllString(strings.TrimSpace(line), "  ")
}

// holds reports whether a drawing has all lines of a lettered one, in their order. Packets that were sent again draw lines in
// between, and their ports take letters; an entry of which more was seen may have been given up since (DYING).
func holds(text, lines string, known func(port string) bool) bool {
	h := holder{known: known, ports: map[string]string{}, left: 1 << 20}
	for line := range strings.Lines(text) {
		h.have = append(h.have, lineOf(evenly(line)))
	}
	for line := range strings.Lines(lines) {
		h.want = append(h.want, lineOf(strings.TrimRight(line, "\n")))
	}
	return h.from(0, 0)
}

// drawnLine is a line of a drawing: its text without ports, and the ports.
type drawnLine struct {
	mute  string
	ports []string
}

func lineOf(text string) drawnLine {
	l := drawnLine{mute: anyPort.ReplaceAllString(text, "$1")}
	for _, m := range anyPort.FindAllStringSubmatch(text, -1) {
		l.ports = append(l.ports, m[2])
	}
	return l
}

// holder looks for one drawing in another.
type holder struct {
	have, want []drawnLine
	known      func(port string) bool
	ports      map[string]string // by their letters, as far as these have come
	left       int               // lines that are still looked at
}

// from reports whether the lines from have on hold those from want on.
func (h *holder) from(have, want int) bool {
	if want == len(h.want) {
		return true
	}
	for ; have < len(h.have) && h.left > 0; have++ {
		h.left--
		bound, ok := h.same(h.have[have], h.want[want])
		if ok && h.from(have+1, want+1) {
			return true
		}
		for _, letter := range bound {
			delete(h.ports, letter)
		}
	}
	return false
}

// same reports whether a line is that with letters, and which letters have got their ports by it.
func (h *holder) same(have, want drawnLine) (bound []string, ok bool) {
	if want.mute != have.mute && want.mute+"|DYING" != have.mute || len(want.ports) != len(have.ports) {
		return nil, false
	}
	for i, letter := range want.ports {
		switch port := have.ports[i]; {
		case letter == port && h.known(port) || h.ports[letter] == port:
		case h.known(letter) || h.known(port) || h.ports[letter] != "" || h.has(port):
			return bound, false
		default:
			h.ports[letter] = port
			bound = append(bound, letter)
		}
	}
	return bound, true
}

// has reports whether a letter stands for a port already.
func (h *holder) has(port string) bool {
	for _, p := range h.ports {
		if p == port {
			return true
		}
	}
	return false
}
