package near_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology/near"
)

func TestThere(t *testing.T) {
	t.Parallel()
	nodes := []string{"vms100", "vms101", "outside", "velero/minio"}
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	for _, row := range []struct {
		word  string
		names []string
		want  string
	}{
		{"a", nil, "there is none"},
		{"a", []string{"b"}, "there is b"},
		{"vms10", nodes, "there are vms100, vms101, outside, velero/minio; did you mean vms100?"},
		{"outsid", nodes, "there are vms100, vms101, outside, velero/minio; did you mean outside?"},
		{"minio", nodes, "there are vms100, vms101, outside, velero/minio; did you mean velero/minio?"},
		{"ini", nodes, "there are vms100, vms101, outside, velero/minio; did you mean velero/minio?"},
		{"vms", nodes, "there are vms100, vms101, outside, velero/minio"}, // two begin with it
		{"elsewhere", nodes, "there are vms100, vms101, outside, velero/minio"},
		{"x", many, "there are n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11 and 8 more"},
	} {
		require.Equal(t, row.want, near.There(row.word, row.names), row.word)
	}
}

func TestTo(t *testing.T) {
	t.Parallel()
	names := []string{"name", "node", "output", "fail-fast", "from", "to", "lab-document", "packets", "packages"}
	for word, want := range map[string]string{
		"nme": "name", "nodes": "node", "ouptut": "output", "failfast": "fail-fast", "form": "", "frm": "from", "x": "", "bogus": "", "toast": "", "out": "output",
		"lab-docs": "lab-document", "packers-all": "", "lab-": "lab-document", "la": "",
	} {
		require.Equal(t, want, near.To(word, names), "%s", word)
	}
}
