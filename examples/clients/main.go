// Uses a client that oapi-codegen has made of the service's OpenAPI document: see README.md.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"example/scheduler"
)

func main() {
	ctx := context.Background()
	token := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Args[2])
		return nil
	}
	client, err := scheduler.NewClientWithResponses(os.Args[1], scheduler.WithRequestEditorFn(token))
	if err != nil {
		log.Fatal(err)
	}
	// Whatever a request may leave out is a pointer.
	seconds := uint64(60)
	body := scheduler.ScheduleCreateJSONRequestBody{
		Name: "generated", TargetCommand: "cmd.example.x", ScheduleType: scheduler.ScheduleTypeInterval,
		IntervalSeconds: &seconds,
	}
	created, err := client.ScheduleCreateWithResponse(ctx, nil, body)
	if err != nil || created.JSON201 == nil || created.JSON201.Data.Status != scheduler.StatusActive {
		log.Fatal(err, string(created.Body))
	}
	id := created.JSON201.Data.Id
	got, err := client.ScheduleGetWithResponse(ctx, id, nil)
	if err != nil || got.JSON200 == nil || *got.JSON200.Data.IntervalSeconds != 60 {
		log.Fatal(err, string(got.Body))
	}
	listed, err := client.ScheduleListWithResponse(ctx, nil)
	if err != nil || listed.JSON200 == nil || len(listed.JSON200.Data) != 1 || listed.JSON200.Data[0].Id != id {
		log.Fatal(err, string(listed.Body))
	}
	refused, err := client.ScheduleCreateWithResponse(ctx, nil, body)
	if err != nil || refused.JSON409 == nil || refused.JSON409.Error.Code != scheduler.CodeAlreadyExists {
		log.Fatal(err, string(refused.Body))
	}
	if _, err := client.ScheduleDeleteWithResponse(ctx, id, nil); err != nil {
		log.Fatal(err)
	}
}
