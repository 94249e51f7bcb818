package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat/xt"
)

// pages are the pages for people, from the repository's root.
func pages(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md", ".github/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		require.NoError(t, err)
		for _, f := range found {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(f), "../"))
		}
	}
	slices.Sort(names)
	return names
}

// example is a command of a page with the output that the page shows.
type example struct {
	line    int
	command string
	want    []string
}

// examplesOf reads the ```console blocks of a page: what stands behind "$ " is a command, with "\" at its end it goes on
// in the next line, and what follows is its output.
func examplesOf(text string) (all []example) {
	console, more := false, false
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		command, is := strings.CutPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(line, "```"):
			console = !console && line == "```console"
		case !console:
		case more:
			all[len(all)-1].command += "\n" + line
		case is:
			all = append(all, example{line: n, command: command})
		default:
			e := &all[len(all)-1]
			e.want = append(e.want, line)
		}
		more = console && (is || more) && strings.HasSuffix(line, `\`)
	}
	return all
}

// Every example of the pages is run, and prints what the page shows. "..." there stands for what was left out, and ports,
// times and process ids are others in each run. An example of a lab has one of its own, by the name that the page uses.
func TestPages(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "the examples make labs: run as root")
	bin := build(t)
	count := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join("..", page))
		require.NoError(t, err)
		all := examplesOf(string(text))
		if count += len(all); len(all) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, bin, page)
			for _, e := range all {
				got := r.run(t, e.command)
				if why := shows(e.want, got); why != "" {
					t.Errorf("%s:%d: $ %s\n%s\nit printed\n%s", page, e.line, e.command, why, got)
				}
			}
		})
	}
	require.Greater(t, count, 20, "the pages have examples")
}

// reader tries the examples of one page.
type reader struct {
	dir, path string
	labs      *strings.Replacer // the page's names for labs to this test's
	back      *strings.Replacer
}

// newReader makes a folder with the files that the pages name, and takes the page's labs away at the end.
func newReader(t *testing.T, bin, page string) reader {
	t.Helper()
	r := reader{dir: t.TempDir()}
	r.path = bin + string(filepath.ListSeparator) + os.Getenv("PATH")
	for name, file := range map[string]string{
		"docker.save": "testdata/hosts/docker.save", "cluster.yaml": "../lab/labtest/testdata/shop.yaml", "my.txtar": "testdata/pages/my.txtar",
		"conntrack.log": "testdata/pages/conntrack.log",
	} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, name), b, 0o600))
	}
	script, err := filepath.Abs("../.ci/lab")
	require.NoError(t, err)
	var to, from []string
	for i, name := range []string{"reference", "mine"} {
		own := fmt.Sprintf("pg%d-%d-%s", os.Getpid(), slices.Index(pages(t), page), string("rm"[i]))
		to = append(to, "--name "+name, "--name "+own, "ip netns exec "+name+".", "ip netns exec "+own+".")
		from = append(from, own, name)
		t.Cleanup(func() {
			_, _ = r.exec(context.Background(), "natlab down --name "+own) // it may never have been
		})
	}
	to = append(to, "make lab", script+" natlab "+from[0])
	r.labs, r.back = strings.NewReplacer(to...), strings.NewReplacer(from...)
	return r
}

// ofALab are the commands that choose a lab by --name.
var ofALab = regexp.MustCompile(`natlab (up|down|status|exec|verify|ask|apply|audit|view --node)\b`)

// run runs an example in this test's labs and returns what it printed, as the page would have it.
func (r reader) run(t *testing.T, command string) string {
	t.Helper()
	command = strings.NewReplacer("sudo ", "", "bin/natlab", "natlab").Replace(command)
	if !strings.Contains(command, "--name ") && !strings.Contains(command, "down --all") && !strings.Contains(command, "verify -f") {
		command = ofALab.ReplaceAllStringFunc(command, func(m string) string {
			words := strings.Fields(m)
			return strings.Join(slices.Insert(words, 2, "--name", "reference"), " ")
		})
	}
	out, err := r.exec(t.Context(), r.labs.Replace(command))
	require.NoError(t, err)
	return r.back.Replace(out)
}

// exec runs a command in a shell. How it ended is not told: what it printed shows that.
func (r reader) exec(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command) //nolint:gosec // the pages are ours
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+r.path, "NO_COLOR=1", "LC_ALL=C.UTF-8", "COLUMNS=", "NATLAB_WITH="+strconv.Itoa(os.Getpid())) // a lab ends with this test
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); ended && ctx.Err() == nil { //nolint:errorlint // nobody wraps it
		err = nil
	}
	return strings.TrimRight(string(out), "\n"), err
}

// shows is the first line of a page that an output has not, "" where it shows all of it. A line "..." stands for any lines.
func shows(want []string, got string) string {
	lines := strings.Split(got, "\n")
	if got == "" {
		lines = nil
	}
	skip := false
	for _, w := range want {
		if strings.TrimSpace(w) == "..." {
			skip = true
			continue
		}
		is := pattern(w)
		at := slices.IndexFunc(lines, is.MatchString)
		if at < 0 || at > 0 && !skip {
			return "the page shows\n" + w
		}
		lines, skip = lines[at+1:], false
	}
	if len(lines) > 0 && !skip {
		return "the page does not show\n" + lines[0]
	}
	return ""
}

var (
	anyBlanks = regexp.MustCompile(`\s+`)
	anyTime   = regexp.MustCompile(`\b\d+\\\.\d+ s\b`)
	anyPID    = regexp.MustCompile(`\bprocess \d+`)
	anyPort   = regexp.MustCompile(`:(\d{4,5})\b`)
	// fixedPort are those of Services and endpoints, and what examples ask from.
	fixedPort = regexp.MustCompile(`^(3000|40000|8080|8081|9000|9090|9153|30080|30450|3\d\d\d\d)$`)
)

// pattern fits the lines that a page's line stands for.
func pattern(line string) *regexp.Regexp {
	s := regexp.QuoteMeta(strings.TrimSpace(line))
	s = anyTime.ReplaceAllString(s, `\d+\.\d+ s`)
	s = anyPID.ReplaceAllString(s, `process \d+`)
	s = anyPort.ReplaceAllStringFunc(s, func(port string) string {
		if fixedPort.MatchString(port[1:]) {
			return port
		}
		return `:\d+`
	})
	s = strings.ReplaceAll(s, `\.\.\.`, `.*`)
	return regexp.MustCompile(`^\s*` + anyBlanks.ReplaceAllString(s, `\s+`) + `\s*$`)
}

func TestShows(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, want, got string
		fits            bool
	}{
		{"the same", "a\nb", "a\nb", true},
		{"blanks vary", "  a   b", "a b", true},
		{"a line is missing", "a\nb", "a", false},
		{"a line too many", "a", "a\nb", false},
		{"lines left out", "a\n...\nd", "a\nb\nc\nd", true},
		{"lines left out at the end", "a\n...", "a\nb", true},
		{"none left out", "a\n...\nb", "a\nb", true},
		{"out of order", "...\nb\n...\na", "a\nb", false},
		{"a part left out", "met ... of 450", "met 17 of 450", true},
		{"a time", "0.8 s passed", "12.3 s passed", true},
		{"a port by chance", "10.0.0.1:22818 > 10.0.0.2:9090", "10.0.0.1:1034 > 10.0.0.2:9090", true},
		{"a Service's port", "10.0.0.1:22818 > 10.0.0.2:9090", "10.0.0.1:1034 > 10.0.0.2:9091", false},
		{"nothing", "", "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			if row.want != "" {
				want = strings.Split(row.want, "\n")
			}
			require.Equal(t, row.fits, shows(want, row.got) == "", shows(want, row.got))
		})
	}
}

// The pages name every package, every test file, every variable that tests read, and each extension that is not decided.
func TestPagesAreWhole(t *testing.T) {
	t.Parallel()
	text := map[string]string{}
	for _, page := range []string{"nat", "lab", "test"} {
		b, err := os.ReadFile(filepath.Join("..", page, "README.md"))
		require.NoError(t, err)
		text[page] = string(b)
	}
	for _, r := range house {
		page := "nat"
		if r.pkg == "lab" || strings.HasPrefix(r.pkg, "lab/") {
			page = "lab"
		}
		if strings.HasPrefix(r.pkg, page) || r.pkg == "topology" {
			require.Contains(t, text[page], "["+r.pkg+"](", "a package")
		}
	}
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		require.Contains(t, text["test"], "`"+f+"`", "a test file")
	}
	for _, m := range regexp.MustCompile("`([a-z/]+_test.go)`").FindAllStringSubmatch(text["test"], -1) {
		require.FileExists(t, m[1])
	}
	for _, x := range xt.Extensions() {
		flag := map[xt.Kind]string{xt.MatchKind: "-m ", xt.TargetKind: "-j "}[x.Kind]
		if x.Undecided != "" {
			require.Contains(t, text["nat"], "`"+flag+x.Name+"`", "an extension that is not decided")
			require.Contains(t, text["nat"], x.Undecided)
		}
	}
	requireVariables(t, text["test"])
}

var variable = regexp.MustCompile(`"(NATLAB_[A-Z]+)[="]`)

// requireVariables holds a page against the environment variables that the code reads.
func requireVariables(t *testing.T, page string) {
	t.Helper()
	read := map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range variable.FindAllStringSubmatch(string(b), -1) {
			read[m[1]] = true
		}
		return err
	}))
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(NATLAB_[A-Z]+)`").FindAllStringSubmatch(page, -1) {
		named[m[1]] = true
	}
	require.Equal(t, read, named)
}

var linkTo = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)

// Every link of a page leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join("..", page))
		require.NoError(t, err)
		for _, m := range linkTo.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := filepath.Join("..", filepath.Dir(page), m[1])
			if m[1] == "" {
				target = filepath.Join("..", page)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s is not there", page, m[0])
				continue
			}
			if m[2] == "" {
				continue
			}
			b, err := os.ReadFile(target)
			require.NoError(t, err)
			require.Contains(t, anchorsOf(string(b)), m[2], "%s: %s", page, m[0])
		}
	}
}

// anchorsOf are the headings as links have them.
func anchorsOf(text string) (all []string) {
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			title = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}
