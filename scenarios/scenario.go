package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"natlab/topology/near"
)

// Variant is one of the two ways in which a scenario is run.
type Variant string

// The variants.
const (
	Buggy Variant = "buggy" // the bug's tell-tale must be seen
	Fixed Variant = "fixed" // with the remedy it must not
)

// NFTables is the backend of runs in which kube-proxy is in nftables mode, and other agents write with iptables-nft. It is asked for by name.
const NFTables = "nftables"

// Scenario is one script with its page.
type Scenario struct {
	Name     string   `json:"name"`                // the file's, without .txtar: "kubernetes-114537"
	Title    string   `json:"title"`               //
	Issue    string   `json:"issue,omitempty"`     // "kubernetes/kubernetes#114537"; "" for a feature that has to work
	What     string   `json:"what"`                // happens
	Why      string   `json:"why,omitempty"`       //
	TellTale string   `json:"tellTale,omitempty"`  // by which it is known
	Fix      string   `json:"fix,omitempty"`       //
	Backends []string `json:"backends"`            // that it is run on: "iptables-legacy", "iptables-nft"; both unless it names one
	Needs    []string `json:"needs,omitempty"`     // of the machine, or it is skipped: "kernel:6.12", "feature:netem", "exec:tcpdump"
	Affected string   `json:"kubeProxy,omitempty"` // which releases of a real kube-proxy have the bug: "v1.32.0 to v1.32.2, v1.33.0", or Everywhere; "" needs none
	Kernel   string   `json:"kernel,omitempty"`    // why it is about the kernel's own NAT, and skipped on the backend "userspace"; "" where it is not
	IPTables string   `json:"iptables,omitempty"`  // why it is about kube-proxy's iptables mode, and skipped on the backend "nftables"; "" where it is not
	IPv4     string   `json:"family,omitempty"`    // why it is about IPv4, and skipped in IPv6; "" where it is not
	Text     []byte   `json:"-"`                   // the whole file
	ipv6     bool     // InIPv6
}

// variants are those that the script tells apart: both, or Fixed alone for a feature that has to work.
func (s Scenario) variants() []Variant {
	if strings.Contains(string(s.Text), "["+string(Buggy)+"]") || s.Issue != "" {
		return []Variant{Buggy, Fixed}
	}
	return []Variant{Fixed}
}

//go:embed library/*.txtar
var library embed.FS

//go:embed small.yaml
var small []byte

// List returns the scenarios of the library, by name.
func List() ([]Scenario, error) { return read(library, "library") }

// ErrUnknown is the class of a name that is neither in the library nor a file.
var ErrUnknown = errors.New("no such scenario")

// Find returns the scenario of a name, of the library or of a real kube-proxy, or reads one from a file, whose name has to have a "/" or end in ".txtar".
func Find(name string) (Scenario, error) {
	if strings.HasSuffix(name, ".txtar") || strings.ContainsRune(name, '/') {
		text, err := os.ReadFile(name)
		if err != nil {
			return Scenario{}, fmt.Errorf("scenario: %w", err)
		}
		return Parse(strings.TrimSuffix(path.Base(name), ".txtar"), text)
	}
	all, err := List()
	if err != nil {
		return Scenario{}, err
	}
	more, err := OfKubeProxy()
	if err != nil {
		return Scenario{}, err
	}
	all = append(all, more...)
	if i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	if nearest := near.Mean(strings.TrimPrefix(name, "#"), names); nearest != "" {
		return Scenario{}, fmt.Errorf("%w: %q%s", ErrUnknown, name, nearest)
	}
	return Scenario{}, fmt.Errorf("%w: %q; natlab scenario list names them, and a file's name ends in .txtar", ErrUnknown, name)
}

// namelessFile is the number of the first line that begins a file without a name, 0 for none: txtar cannot read one.
func namelessFile(text []byte) (n int) {
	for line := range strings.Lines(string(text)) {
		n++
		if strings.TrimRight(line, "\r\n") == "-- --" {
			return n
		}
	}
	return 0
}

// header are the keys of a page, at the beginning of a script as "# key: text"; a line "#   text" goes on with the key before.
var header = []string{"title", "issue", "what", "why", "tell-tale", "fix", "backends", "kube-proxy", "iptables", "ipv4"}

// Parse reads a scenario. An error names the scenario and what its page lacks.
func Parse(name string, text []byte) (Scenario, error) {
	s := Scenario{Name: name, Text: text, Backends: []string{"iptables-legacy", "iptables-nft"}}
	if n := namelessFile(text); n > 0 {
		return Scenario{}, fmt.Errorf("scenario %s: line %d: \"-- --\": a file needs a name, -- NAME --", name, n)
	}
	fields := map[string]string{}
	key := ""
	for line := range strings.Lines(string(txtar.Parse(text).Comment)) {
		rest, ok := strings.CutPrefix(strings.TrimRight(line, " \r\n"), "#")
		if !ok {
			break
		}
		if k, v, ok := strings.Cut(strings.TrimSpace(rest), ":"); ok && slices.Contains(header, k) {
			key = k
			rest = v
		}
		if key != "" {
			fields[key] = strings.TrimSpace(fields[key] + " " + strings.TrimSpace(rest))
		}
	}
	s.Title, s.Issue, s.What, s.Why = fields["title"], fields["issue"], fields["what"], fields["why"]
	s.TellTale, s.Fix, s.IPTables, s.IPv4 = fields["tell-tale"], fields["fix"], fields["iptables"], fields["ipv4"]
	if s.Affected = fields["kube-proxy"]; s.Affected != "" {
		s.Backends = s.Backends[:1]
	}
	if _, err := parseAffected(s.Affected); err != nil {
		return Scenario{}, fmt.Errorf("scenario %s: %w", name, err)
	}
	if b := fields["backends"]; b != "" {
		s.Backends = strings.Fields(b)
	}
	if s.Title == "" || s.What == "" {
		return Scenario{}, fmt.Errorf("scenario %s: its script has to begin with \"# title: ...\" and \"# what: ...\"", name)
	}
	if s.Issue != "" && (s.TellTale == "" || s.Fix == "") {
		return Scenario{}, fmt.Errorf("scenario %s: a bug's page needs \"# tell-tale:\" and \"# fix:\" too", name)
	}
	if verbs := kernelVerbs(text); len(verbs) > 0 {
		s.Kernel = "about the kernel's own NAT: " + strings.Join(verbs, ", ")
	}
	needs, err := skipsOf(text)
	if err != nil {
		return Scenario{}, fmt.Errorf("scenario %s: %w", name, err)
	}
	s.Needs = needs
	return s, nil
}
