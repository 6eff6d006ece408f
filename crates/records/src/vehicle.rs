//! Vehicles and whose they are.

use crate::Result;
use crate::database::On;
use crate::row::{Read as _, row};
use crate::value::args;
use cheling_model::{CustomerId, DealershipId, Timestamp, VehicleId};

row! {
    /// A vehicle.
    Vehicle in "vehicle" {
        vehicle_id: VehicleId = "vehicle_id",
        dealership_id: DealershipId = "dealership_id",
        /// `沪A·D3962` or empty.
        plate: String = "plate",
        /// `沪AD3962`: [`crate::customer::plate_key`].
        plate_key: String = "plate_key",
        /// 17 characters or empty.
        vin: String = "vin",
        brand: String = "brand",
        /// Series and model in words.
        model: String = "model",
        /// `2.0T` or empty.
        displacement: String = "displacement",
        /// `AT` or empty.
        transmission: String = "transmission",
        colour: String = "colour",
        delivered_on: Option<String> = "delivered_on",
        mileage_km: Option<i64> = "mileage_km",
        last_visit_on: Option<String> = "last_visit_on",
        next_service_on: Option<String> = "next_service_on",
        inspection_due_on: Option<String> = "inspection_due_on",
        insurance_due_on: Option<String> = "insurance_due_on",
        created_at: Timestamp = "created_at_us",
        updated_at: Timestamp = "updated_at_us",
    }
}

row! {
    /// A customer's tie to a vehicle.
    Tie in "customer_vehicle" {
        customer_id: CustomerId = "customer_id",
        vehicle_id: VehicleId = "vehicle_id",
        /// `owner`, `driver` or `contact`.
        role: String = "role",
        since: Timestamp = "since_us",
        until: Option<Timestamp> = "until_us",
    }
}

/// A customer's vehicles, the last in the workshop first.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn of_customer(on: impl Into<On<'_>>, customer_id: CustomerId) -> Result<Vec<Vehicle>> {
    let columns =
        Vehicle::COLUMNS.iter().map(|it| format!("vehicle.{it}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select {columns} from vehicle where vehicle_id in (select vehicle_id \
             from customer_vehicle where customer_id = $1 and until_us is null) \
         order by coalesce(last_visit_on, '') desc, vehicle_id limit 50"
    );
    on.into().list(sql, args![customer_id]).await
}

/// The vehicle of this VIN, or else of this plate. Either may be empty.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn by_vin_or_plate(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    vin: &str,
    plate_key: &str,
) -> Result<Option<Vehicle>> {
    let mut on = on.into();
    for (column, value) in [("vin", vin), ("plate_key", plate_key)] {
        if value.is_empty() {
            continue;
        }
        let sql = format!(
            "select {} from vehicle where dealership_id = $1 and {column} = $2 \
             order by vehicle_id limit 1",
            Vehicle::columns()
        );
        if let Some(vehicle) = on.find(sql, args![dealership_id, value]).await? {
            return Ok(Some(vehicle));
        }
    }
    Ok(None)
}

/// One vehicle of a dealership.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub async fn find(
    on: impl Into<On<'_>>,
    dealership_id: DealershipId,
    vehicle_id: VehicleId,
) -> Result<Vehicle> {
    let sql = format!(
        "select {} from vehicle where dealership_id = $1 and vehicle_id = $2",
        Vehicle::columns()
    );
    on.into().one(sql, args![dealership_id, vehicle_id]).await
}

/// Writes every column of a vehicle but its key and birth.
///
/// # Errors
/// [`crate::Error::NotFound`], or [`crate::Error::Conflict`] for a VIN that another one has.
pub async fn update(on: impl Into<On<'_>>, vehicle: &Vehicle) -> Result<()> {
    let sql = "update vehicle set plate = $3, plate_key = $4, vin = $5, brand = $6, model = $7, \
               displacement = $8, transmission = $9, colour = $10, delivered_on = $11, \
               mileage_km = $12, last_visit_on = $13, next_service_on = $14, \
               inspection_due_on = $15, insurance_due_on = $16, updated_at_us = $17 \
               where dealership_id = $1 and vehicle_id = $2";
    let v = vehicle;
    let args = args![
        v.dealership_id,
        v.vehicle_id,
        &v.plate,
        &v.plate_key,
        &v.vin,
        &v.brand,
        &v.model,
        &v.displacement,
        &v.transmission,
        &v.colour,
        v.delivered_on.as_deref(),
        v.mileage_km,
        v.last_visit_on.as_deref(),
        v.next_service_on.as_deref(),
        v.inspection_due_on.as_deref(),
        v.insurance_due_on.as_deref(),
        v.updated_at,
    ];
    on.into().change(sql, args).await
}

/// Ties a customer to a vehicle; once is enough.
///
/// # Errors
/// [`crate::Error::Refused`] if either is not there.
pub async fn tie(on: impl Into<On<'_>>, tie: &Tie) -> Result<()> {
    let sql = "insert into customer_vehicle (customer_id, vehicle_id, role, since_us, until_us) \
               values ($1, $2, $3, $4, $5) \
               on conflict (customer_id, vehicle_id, role) do update set until_us = $5";
    let args = args![tie.customer_id, tie.vehicle_id, &tie.role, tie.since, tie.until];
    on.into().execute(sql, args).await.map(|_| ())
}

/// Ends a customer's ties to a vehicle.
///
/// # Errors
/// [`crate::Error::Unavailable`].
pub async fn untie(
    on: impl Into<On<'_>>,
    customer_id: CustomerId,
    vehicle_id: VehicleId,
    at: Timestamp,
) -> Result<()> {
    let sql = "update customer_vehicle set until_us = $3 \
               where customer_id = $1 and vehicle_id = $2 and until_us is null";
    on.into().execute(sql, args![customer_id, vehicle_id, at]).await.map(|_| ())
}
