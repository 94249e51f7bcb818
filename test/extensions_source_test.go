package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/vm"
	"natlab/nat"
)

// The iptables whose tests these are, and the Debian release that has it.
const (
	extensionsVersion = "1.8.9"
	extensionsRelease = "bookworm"
)

// extensionLine is a line of a .t file.
type extensionLine struct {
	extension string // "connbytes", as the file's name has it
	place     string // "libxt_connbytes.t:4"
	families  []nat.Family
	table     string
	chain     string // the first of those that the file names
	spec      string // what follows "-A CHAIN"
	mistake   bool   // iptables refuses it
	before    []string
}

// String is the line as iptables-restore takes it.
func (l extensionLine) String() string { return "-A " + l.chain + " " + l.spec }

// extensionLines reads the .t files of iptables' source. Where it cannot be fetched the test is skipped, but not in CI.
func extensionLines(t *testing.T) []extensionLine {
	t.Helper()
	unfit := t.Skipf
	if os.Getenv("CI") != "" {
		unfit = t.Fatalf
	}
	version, err := dataplane.Version(t.Context(), dataplane.NFT)
	require.NoError(t, err)
	if !strings.HasPrefix(version, "v"+extensionsVersion+" ") {
		unfit("iptables here is %s: the figures are those of %s, of Debian %s", version, extensionsVersion, extensionsRelease)
	}
	store, err := vm.DefaultStore(t.Output())
	require.NoError(t, err)
	source, err := store.Source(t.Context(), extensionsRelease, "iptables")
	if err != nil {
		unfit("the source of iptables %s cannot be fetched: %v", extensionsVersion, err)
	}
	files, err := filepath.Glob(filepath.Join(source, "extensions", "lib*_*.t"))
	require.NoError(t, err)
	var lines []extensionLine
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		read, err := readExtensionTests(filepath.Base(file), string(text))
		require.NoError(t, err)
		lines = append(lines, read...)
	}
	require.NotEmpty(t, lines)
	return lines
}

// readExtensionTests reads a .t file as iptables-test.py does: ":CHAIN,CHAIN" and "*TABLE" hold for the lines below,
// "@COMMAND" and "%COMMAND" are run before them, and a rule is "SPEC;SAVED;OK" or FAIL, with the backend that this holds
// for and what the other one answers behind it. Files of arptables and ebtables have no lines here.
func readExtensionTests(file, text string) (lines []extensionLine, err error) {
	kind, name, _ := strings.Cut(strings.TrimSuffix(file, ".t"), "_")
	families := map[string][]nat.Family{"libxt": {nat.IPv4, nat.IPv6}, "libipt": {nat.IPv4}, "libip6t": {nat.IPv6}}[kind]
	if families == nil {
		return nil, nil
	}
	at := extensionLine{extension: name, families: families, table: "filter"}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		switch line[0] {
		case '#':
		case '*':
			at.table = strings.TrimSpace(line[1:])
		case ':':
			at.chain, _, _ = strings.Cut(strings.TrimSpace(line[1:]), ",")
		case '@', '%':
			at.command(strings.Fields(line[1:]))
		default:
			one := at
			one.place = fmt.Sprintf("%s:%d", file, number)
			parts := strings.Split(line, ";")
			if len(parts) < 3 || at.chain == "" {
				return nil, fmt.Errorf("%s: %q: want SPEC;SAVED;RESULT below a line of chains", one.place, line)
			}
			one.spec = parts[0]
			one.mistake = strings.TrimSpace(parts[2]) != "OK"
			if err := one.variant(parts[3:]); err != nil {
				return nil, fmt.Errorf("%s: %w", one.place, err)
			}
			lines = append(lines, one)
		}
	}
	return lines, nil
}

// command keeps what has to be there before the lines below: a rule, or "nfacct add NAME". What adds an object by
// a program that iptables does not come with has no lines that need it.
func (l *extensionLine) command(words []string) {
	switch {
	case len(words) > 3 && words[0] == "iptables" && words[1] == "-I":
		l.before = append(slices.Clip(l.before), strings.Join(words[3:], " "))
	case len(words) > 1 && words[0] == "iptables" && words[1] == "-D":
		l.before = nil
	}
}

// variant reads what follows the result. Where it holds for one backend only, a line that the other one takes is no
// mistake: what loads is counted and what does not is not.
func (l *extensionLine) variant(words []string) error {
	if len(words) == 0 {
		return nil
	}
	if backend := strings.TrimSpace(words[0]); backend != "LEGACY" && backend != "NFT" {
		return errors.New("want LEGACY or NFT behind the result, not " + backend)
	}
	l.mistake = false
	return nil
}

func TestReadExtensionTests(t *testing.T) {
	t.Parallel()
	both, four, six := []nat.Family{nat.IPv4, nat.IPv6}, []nat.Family{nat.IPv4}, []nat.Family{nat.IPv6}
	for _, row := range []struct {
		file, text string
		want       []extensionLine
	}{
		{"libebt_ip.t", ":INPUT\n-p ip;=;OK\n", nil},
		{"libxt_cpu.t", ":INPUT,OUTPUT\n# a remark\n-m cpu --cpu 0;=;OK\n-m cpu;;FAIL\n", []extensionLine{
			{"cpu", "libxt_cpu.t:3", both, "filter", "INPUT", "-m cpu --cpu 0", false, nil},
			{"cpu", "libxt_cpu.t:4", both, "filter", "INPUT", "-m cpu", true, nil},
		}},
		{"libipt_X.t", ":PREROUTING\n*mangle\n-j X;-j X --y;OK\n:INPUT\n*filter\n-j Y;=;FAIL;NFT\n", []extensionLine{
			{"X", "libipt_X.t:3", four, "mangle", "PREROUTING", "-j X", false, nil},
			{"X", "libipt_X.t:6", four, "filter", "INPUT", "-j Y", false, nil},
		}},
		{"libip6t_z.t", ":INPUT\n%iptables -I INPUT -j A\n%iptables -I INPUT -j B\n-m z;=;OK\n%iptables -D INPUT -j A\n-m z;;OK\n", []extensionLine{
			{"z", "libip6t_z.t:4", six, "filter", "INPUT", "-m z", false, []string{"-j A", "-j B"}},
			{"z", "libip6t_z.t:6", six, "filter", "INPUT", "-m z", false, nil},
		}},
	} {
		t.Run(row.file, func(t *testing.T) {
			t.Parallel()
			got, err := readExtensionTests(row.file, row.text)
			require.NoError(t, err)
			require.Equal(t, row.want, got, row.file)
		})
	}
	for _, text := range []string{"-m cpu;=;OK\n", ":INPUT\n-m cpu;=\n", ":INPUT\n-m cpu;=;OK;EBT\n"} {
		_, err := readExtensionTests("libxt_cpu.t", text)
		require.Error(t, err, text)
	}
}
