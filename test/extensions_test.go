package test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
)

// extensionFigures are what natlab has to reach with the lines of iptables 1.8.9's own extension tests, on a backend.
// They may only get better. A line of libxt_*.t counts once a family.
type extensionFigures struct {
	loaded    int // by the program here: of the lines that are to load, those that this kernel has the extension for
	read      int // as the test's author wrote them; what natlab prints of them is iptables-save's line to the byte
	parsed    int // iptables-save's lines that come back from natlab's parser to the byte
	viewed    int // the kernel's bytes, shown by natlab as iptables-save shows them, to the byte
	evaluated int // whose every match and target the emulator decides
	wrong     int // at most: shown by natlab neither so nor, as far as it has no words, by bytes
}

var extensionsWanted = map[dataplane.Backend]extensionFigures{
	dataplane.Legacy: {loaded: 964, read: 962, parsed: 964, viewed: 964, evaluated: 927},
	dataplane.NFT:    {loaded: 966, read: 962, parsed: 966, viewed: 966, evaluated: 929},
}

// Lines that the tests have as mistakes and that natlab's parser refuses; a line of libxt_*.t counts once a family.
const extensionsRefused = 403

// extensionsVar is the environment variable that names extensions, as their files do ("connbytes,CT,icmp6", or "all"), of
// which the test prints each line that falls short, with what natlab made of it:
//
//	NATLAB_EXTENSIONS=connbytes go test ./test -run TestExtensions -v
//
// Only these are loaded then, and no figure is held against extensionsWanted.
const extensionsVar = "NATLAB_EXTENSIONS"

// TestExtensions loads each line of iptables' own tests of its extensions into the kernel, by both backends and for
// both families, and holds natlab's parser, its reading of the kernel's bytes and its emulator to the result. It prints
// the figures, an extension a line.
func TestExtensions(t *testing.T) { //nolint:tparallel // the lines of one backend are loaded beside those of the other, and judged when all are
	t.Parallel()
	require.Zero(t, os.Geteuid(), "rules are loaded into network namespaces, which needs root")
	lines := extensionLines(t)
	chosen := strings.FieldsFunc(os.Getenv(extensionsVar), func(r rune) bool { return r == ',' || r == ' ' })
	if len(chosen) > 0 {
		lines = slices.DeleteFunc(lines, func(l extensionLine) bool {
			return !slices.Contains(chosen, l.extension) && chosen[0] != "all"
		})
		require.NotEmpty(t, lines, "%s names no extension that iptables has tests of", extensionsVar)
	}
	s := &extensionScore{show: len(chosen) > 0, byName: map[string]*extensionRow{}}
	s.refusals(t, lines)
	t.Run("load", func(t *testing.T) { // is over when all are loaded
		for _, backend := range dataplane.Backends() {
			for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
				t.Run(fmt.Sprintf("%s %s", backend, family), func(t *testing.T) {
					t.Parallel()
					loadExtensions(t, backend, family, lines, s)
				})
			}
		}
	})
	s.judge(t)
}

// judge prints the figures and holds them against what is wanted.
func (s *extensionScore) judge(t *testing.T) {
	t.Helper()
	t.Log(s.table())
	for _, backend := range dataplane.Backends() {
		want, got := extensionsWanted[backend], s.total(backend)
		t.Logf("%s: %d loaded, %d read as written, %d parsed back, %d viewed, %d as bytes, %d wrong, %d evaluated", backend,
			got.loaded, got.read, got.parsed, got.viewed, got.bytes, got.wrong, got.evaluated)
		if s.show {
			continue
		}
		require.GreaterOrEqual(t, got.loaded, want.loaded, "%s: lines loaded", backend)
		require.GreaterOrEqual(t, got.read, want.read, "%s: lines read as they are written", backend)
		require.GreaterOrEqual(t, got.parsed, want.parsed, "%s: saved lines that come back", backend)
		require.GreaterOrEqual(t, got.viewed, want.viewed, "%s: lines viewed as iptables-save shows them", backend)
		require.LessOrEqual(t, got.wrong, want.wrong, "%s: lines viewed as something else, or not at all", backend)
		require.GreaterOrEqual(t, got.evaluated, want.evaluated, "%s: lines that the emulator decides", backend)
	}
	sum := s.total("")
	t.Logf("%d of %d mistakes refused", sum.refused, sum.mistakes)
	if !s.show {
		require.GreaterOrEqual(t, sum.refused, extensionsRefused, "mistakes refused")
	}
}

// extensionRow counts one extension's lines, of both families.
type extensionRow struct {
	mistakes, refused int
	backends          map[dataplane.Backend]*extensionCount
}

type extensionCount struct {
	extensionFigures
	bytes int // shown as raw bytes
}

// extensionScore collects the figures of all loaders.
type extensionScore struct {
	sync.Mutex
	show   bool
	byName map[string]*extensionRow
}

func (s *extensionScore) row(name string) *extensionRow {
	r := s.byName[name]
	if r == nil {
		r = &extensionRow{backends: map[dataplane.Backend]*extensionCount{}}
		for _, b := range dataplane.Backends() {
			r.backends[b] = &extensionCount{}
		}
		s.byName[name] = r
	}
	return r
}

// add counts one line that was loaded.
func (s *extensionScore) add(t *testing.T, l loadedLine) {
	t.Helper()
	read, parsed, undecided := l.asWritten(), l.parsedBack(), l.undecided(t)
	s.Lock()
	defer s.Unlock()
	c := s.row(l.extension).backends[l.backend]
	c.loaded++
	count := func(n *int, holds bool) {
		if holds {
			*n++
		}
	}
	count(&c.read, read == l.saved)
	count(&c.parsed, parsed == l.saved)
	count(&c.viewed, l.view == l.saved)
	count(&c.bytes, l.view != l.saved && l.keptAsBytes())
	count(&c.wrong, l.view != l.saved && !l.keptAsBytes())
	count(&c.evaluated, undecided == "")
	if !s.show {
		return
	}
	var b strings.Builder
	for _, result := range [][2]string{{"read as", read}, {"parsed back", parsed}, {"viewed", l.view}} {
		if result[1] != l.saved {
			fmt.Fprintf(&b, "\n    %-11s %s", result[0], result[1])
		}
	}
	if undecided != "" {
		fmt.Fprintf(&b, "\n    %-11s %s", "undecided", undecided)
	}
	if b.Len() > 0 {
		t.Logf("%s, %s, %s\n    %-11s %s\n    %-11s %s%s", l.place, l.backend, l.family, "written", l, "saved", l.saved, b.String())
	}
}

// total adds the extensions up; the refusals are those of no backend.
func (s *extensionScore) total(b dataplane.Backend) (sum struct {
	extensionCount
	mistakes, refused int
},
) {
	for _, r := range s.byName {
		sum.mistakes += r.mistakes
		sum.refused += r.refused
		if c := r.backends[b]; c != nil {
			sum.loaded += c.loaded
			sum.read += c.read
			sum.parsed += c.parsed
			sum.viewed += c.viewed
			sum.bytes += c.bytes
			sum.wrong += c.wrong
			sum.evaluated += c.evaluated
		}
	}
	return sum
}

// table prints the figures of both backends beside each other, legacy/nft, the extensions with most to do first.
func (s *extensionScore) table() string {
	names := make([]string, 0, len(s.byName))
	for name := range s.byName {
		names = append(names, name)
	}
	missing := func(name string) (n int) {
		for _, c := range s.byName[name].backends {
			n += 4*c.loaded - c.read - c.parsed - c.viewed - c.evaluated
		}
		return n
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(missing(b), missing(a)), cmp.Compare(a, b))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "legacy/nft\n%-16s", "extension")
	for _, column := range []string{"loaded", "read", "parsed", "viewed", "as bytes", "wrong", "evaluated"} {
		fmt.Fprintf(&b, " %9s", column)
	}
	b.WriteString("  mistakes refused\n")
	for _, name := range names {
		r := s.byName[name]
		old, now := r.backends[dataplane.Legacy], r.backends[dataplane.NFT]
		fmt.Fprintf(&b, "%-16s", name)
		for _, pair := range [][2]int{
			{old.loaded, now.loaded},
			{old.read, now.read},
			{old.parsed, now.parsed},
			{old.viewed, now.viewed},
			{old.bytes, now.bytes},
			{old.wrong, now.wrong},
			{old.evaluated, now.evaluated},
		} {
			fmt.Fprintf(&b, " %9s", fmt.Sprintf("%d/%d", pair[0], pair[1]))
		}
		fmt.Fprintf(&b, "  %d of %d\n", r.refused, r.mistakes)
	}
	return b.String()
}
