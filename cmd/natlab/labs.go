package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
)

// named adds --name, which says which of the labs that are up.
func named(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", "", "the lab's name (default: the one that is up)")
}

// pick is the lab to work on: the named one, or the only one there is. It is "" where there is none at all.
func pick(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	all, err := lab.List()
	if err != nil || len(all) == 0 {
		return "", err
	}
	if len(all) == 1 {
		return all[0].Name, nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return "", fmt.Errorf("there are several labs, say which one with --name: %s", strings.Join(names, ", "))
}

// open attaches to the lab to work on.
func open(ctx context.Context, name string) (*lab.Lab, error) {
	name, err := pick(name)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errors.New("no lab is up: natlab up makes one")
	}
	return lab.Open(ctx, name)
}

// joinClose closes c after the work on it ended with err.
func joinClose(err error, c io.Closer) error { return errors.Join(err, c.Close()) }
