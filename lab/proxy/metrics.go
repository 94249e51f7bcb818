package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"natlab/lab/netns"
)

// What a kube-proxy's metrics tell of its work (pkg/proxy/metrics).
const (
	serviceChanges = "kubeproxy_sync_proxy_rules_service_changes_total"
	// programmed counts the changed EndpointSlices whose rules are written: of those that tell when they were changed, each one once.
	programmed = "kubeproxy_network_programming_duration_seconds_count"
)

// failures are the metrics of syncs whose rules the kernel or its program refused: of iptables mode, which before 1.31 counts for nftables mode too, and
// of nftables mode.
var failures = []string{"kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 24

// Client is an HTTP client inside a namespace. A page has to come within ten seconds.
func Client(ns netns.Handle) *http.Client {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = ns.Do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1}, Timeout: 10 * time.Second}
}

// Get gets a page: its status and its text, of at most 16 MiB.
func Get(ctx context.Context, client *http.Client, url string) (status int, text string, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := client.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, string(b), err
}

// metrics are the values of a page of metrics by name, those of different labels added.
type metrics map[string]float64

// failed is how many syncs failed.
func (m metrics) failed() (n float64) {
	for _, name := range failures {
		n += m[name]
	}
	return n
}

func parseMetrics(text string) (metrics, error) {
	out := metrics{}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		if end < 0 {
			return nil, fmt.Errorf("metrics: %q: want a name and a value", line)
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
		name, _, _ := strings.Cut(line[:end], "{")
		out[name] += value
	}
	return out, lines.Err()
}
