package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/topology"
	"natlab/topology/near"
)

// named adds --name, which chooses among the labs that are up.
func named(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", "", "the lab's name (default: the reference lab where it is up, else the only one)")
}

// pick is the lab to work on: the named one, the one that `natlab up` makes, or the only one there is. It is "" where
// there is none at all.
func pick(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	all, err := lab.List()
	if err != nil || len(all) == 0 {
		return "", err
	}
	reference, err := topology.Reference()
	if err != nil {
		return "", err
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	switch {
	case slices.Contains(names, reference.Name):
		return reference.Name, nil
	case len(names) == 1:
		return names[0], nil
	}
	return "", fmt.Errorf("there are several labs: choose one with --name: %s", strings.Join(names, ", "))
}

// noLab tells that there is no lab of a name, and what there is; "" where there is none at all.
func noLab(name string) string {
	if name == "" {
		return "there is no lab"
	}
	all, _ := lab.List() // what cannot be listed is not there
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return "there is no lab " + name + "; " + near.There(name, names)
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
