"""Writes events.jsonl: a credit model's lineage, by OpenLineage's own Python client (pip install openlineage-python==1.54.0).

Customers of the EU feed the model 'risk-scorer' 3 by way of features; payments of unknown origin feed 'fraud' 1; a run that failed
read Chinese data and led to nothing; a federated model saw EU data and carries none of it away.
"""
import datetime
import os
import uuid

import attr
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import DatasetEvent, InputDataset, Job, JobEvent, OutputDataset, Run, RunEvent, RunState, StaticDataset
from openlineage.client.facet_v2 import DatasetFacet, ownership_job
from openlineage.client.transport.file import FileConfig, FileTransport

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'events.jsonl')
PRODUCER = 'https://example.org/pipelines'


@attr.define
class Origin(DatasetFacet):
    """Where the data comes from: cloud regions or countries."""
    regions: list = attr.field(factory=list)


@attr.define
class Model(DatasetFacet):
    """The dataset is this version of a model."""
    model: str = ''
    version: str = ''


clock = datetime.datetime(2026, 3, 1, 8, tzinfo=datetime.timezone.utc)


def now():
    global clock
    clock += datetime.timedelta(minutes=5)
    return clock.isoformat()


def facets(origin=None, model=None):
    found = {}
    if origin:
        found['tollgate_origin'] = Origin(regions=origin, producer=PRODUCER)
    if model:
        found['tollgate_model'] = Model(model=model[0], version=model[1], producer=PRODUCER)
    return found


def read(namespace, name, origin=None):
    return InputDataset(namespace=namespace, name=name, facets=facets(origin))


def written(namespace, name, model=None):
    return OutputDataset(namespace=namespace, name=name, facets=facets(model=model))


def job(name, owner):
    owners = ownership_job.OwnershipJobFacet(owners=[ownership_job.Owner(name=f'team:{owner}', type='MAINTAINER')])
    return Job(namespace='airflow', name=name, facets={'ownership': owners})


if os.path.exists(OUT):
    os.remove(OUT)
client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=OUT, append=True)))


def run(number, job, ends, inputs, outputs):
    of = Run(runId=str(uuid.UUID(int=number)))
    client.emit(RunEvent(eventType=RunState.START, eventTime=now(), run=of, job=job, inputs=inputs, outputs=[], producer=PRODUCER))
    client.emit(RunEvent(eventType=ends, eventTime=now(), run=of, job=job, inputs=[], outputs=outputs, producer=PRODUCER))


client.emit(DatasetEvent(eventTime=now(), producer=PRODUCER, dataset=StaticDataset(
    namespace='postgres://crm:5432', name='crm.public.customers', facets=facets(['eu-central-1', 'FR']))))
run(1, job('features.build', 'data-platform'), RunState.COMPLETE, [read('postgres://crm:5432', 'crm.public.customers')], [written('s3://features', 'customers/v1')])
run(2, job('risk.train', 'risk'), RunState.COMPLETE, [read('s3://features', 'customers/v1'), read('s3://bureau', 'scores', ['US'])],
    [written('s3://models', 'risk-scorer/3', ('risk-scorer', '3'))])
run(3, job('risk.train', 'risk'), RunState.FAIL, [read('oss://cn-lake', 'applicants', ['cn-north-1'])], [written('s3://models', 'risk-scorer/4', ('risk-scorer', '4'))])
run(4, job('fraud.train', 'fraud'), RunState.COMPLETE, [read('sftp://partner', 'payments.csv')], [written('s3://models', 'fraud/1', ('fraud', '1'))])
run(5, job('fl.aggregate', 'research'), RunState.COMPLETE, [read('s3://features', 'customers/v1')], [written('s3://models', 'churn/1', ('churn', '1'))])
client.emit(JobEvent(eventTime=now(), producer=PRODUCER, job=job('crm.replicate', 'data-platform'),
                     inputs=[read('postgres://crm:5432', 'crm.public.customers')], outputs=[written('bigquery', 'dwh.crm.customers')]))
print(len(open(OUT).readlines()), 'events')
