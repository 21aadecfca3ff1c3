"""Writes events.jsonl: a credit model's lineage, by OpenLineage's own Python client (pip install openlineage-python==1.54.0); and
names.jsonl: data that is renamed, and that has a name besides its place.

Customers of the EU feed the model 'risk-scorer' 3 by way of features; payments of unknown origin feed 'fraud' 1; a run that failed
read Chinese data and led to nothing; a federated model saw EU data and carries none of it away.
"""
import datetime
import os
import uuid

import attr
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import DatasetEvent, InputDataset, Job, JobEvent, OutputDataset, Run, RunEvent, RunState, StaticDataset
from openlineage.client.facet_v2 import DatasetFacet, lifecycle_state_change_dataset, ownership_job, symlinks_dataset
from openlineage.client.transport.file import FileConfig, FileTransport

FOLDER = os.path.dirname(os.path.abspath(__file__))
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


def writer(name):
    path = os.path.join(FOLDER, name)
    if os.path.exists(path):
        os.remove(path)
    return OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=path, append=True)))


client = writer('events.jsonl')


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

# Patients are loaded into a staging table, which is renamed; training reads the result by the name that the catalogue has for it.
client = writer('names.jsonl')
clock = datetime.datetime(2026, 3, 4, 8, tzinfo=datetime.timezone.utc)
State = lifecycle_state_change_dataset.LifecycleStateChange
LAKE, HIVE = 's3://clinic', 'hive://metastore:9083'


def changed(name, state, previous=None):
    before = previous and lifecycle_state_change_dataset.PreviousIdentifier(namespace=LAKE, name=previous)
    facet = lifecycle_state_change_dataset.LifecycleStateChangeDatasetFacet(lifecycleStateChange=state, previousIdentifier=before)
    return OutputDataset(namespace=LAKE, name=name, facets={'lifecycleStateChange': facet})


def also(table):
    names = [symlinks_dataset.Identifier(namespace=HIVE, name=table, type='TABLE')]
    return symlinks_dataset.SymlinksDatasetFacet(identifiers=names)


run(11, job('clinic.load', 'clinic'), RunState.COMPLETE, [read('postgres://ward:5432', 'ward.public.patients')], [written(LAKE, 'patients_staging')])
run(12, job('clinic.swap', 'clinic'), RunState.COMPLETE, [], [changed('patients', State.RENAME, 'patients_staging'), changed('patients_old', State.DROP)])
# One that did not go through.
run(13, job('clinic.swap', 'clinic'), RunState.FAIL, [], [changed('patients', State.RENAME, 'patients_test')])
client.emit(DatasetEvent(eventTime=now(), producer=PRODUCER, dataset=StaticDataset(
    namespace=LAKE, name='patients', facets={'symlinks': also('clinic.patients')})))
run(14, job('triage.train', 'clinic'), RunState.COMPLETE, [read(HIVE, 'clinic.patients')], [written('s3://models', 'triage/1', ('triage', '1'))])
client.emit(DatasetEvent(eventTime=now(), producer=PRODUCER, dataset=StaticDataset(
    namespace=LAKE, name='patients_test', facets=facets(['cn-north-1']))))
# Found out last of all.
client.emit(DatasetEvent(eventTime=now(), producer=PRODUCER, dataset=StaticDataset(
    namespace='postgres://ward:5432', name='ward.public.patients', facets=facets(['DE']))))

for name in ['events.jsonl', 'names.jsonl']:
    print(len(open(os.path.join(FOLDER, name)).readlines()), 'events in', name)
